// What Q4_K and Q5_K have in common.
#pragma once

#include "kernels/cpu/k_scales.h"
#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

// Eight bytes, each twice, as int16: a minimum of 32 weights meets two sums of 16 activations.
LLMCORE_INLINE __m256i doubled(uint64_t bytes) {
    const __m128i x = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(x, x));
}

}  // namespace
}  // namespace llmcore
