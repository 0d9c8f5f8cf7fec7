// The eight 6-bit scales and minimums of Q4_K and Q5_K, for 16 units of 16 weights.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

struct KScales {
    __m256i scales;
    __m256i minimums;
};

inline KScales load_k_scales(const uint8_t* packed) {
    const uint32_t a = load_u32(packed);
    const uint32_t b = load_u32(packed + 4);
    const uint32_t c = load_u32(packed + 8);
    const uint64_t scales_low = a & 0x3F3F3F3Fu;
    const uint64_t scales_high = (c & 0x0F0F0F0Fu) | ((a >> 2) & 0x30303030u);
    const uint64_t minimums_low = b & 0x3F3F3F3Fu;
    const uint64_t minimums_high = ((c >> 4) & 0x0F0F0F0Fu) | ((b >> 2) & 0x30303030u);
    const __m128i bytes = _mm_set_epi64x(static_cast<int64_t>(minimums_low | (minimums_high << 32)),
                                         static_cast<int64_t>(scales_low | (scales_high << 32)));
    // Each is for 32 weights: two units.
    return {_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(bytes, bytes)),
            _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(bytes, bytes))};
}

}  // namespace
}  // namespace llmcore
