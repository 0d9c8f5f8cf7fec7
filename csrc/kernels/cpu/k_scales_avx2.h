// The packed 6-bit scales of the K-quants, and what Q4_K and Q5_K have in common.
#pragma once

#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

// 12 bytes hold eight scales and eight minimums of 6 bits: four of each in the low bits of the first 8 bytes,
// the others as nibbles in the last 4 and pairs of bits on top of the first 8.
struct ScalesAndMinimums {
    uint64_t scales, minimums;  // eight bytes each

    explicit LLMCORE_INLINE ScalesAndMinimums(const uint8_t* packed) {
        const uint32_t a = load_u32(packed);
        const uint32_t b = load_u32(packed + 4);
        const uint32_t c = load_u32(packed + 8);
        const uint32_t scales_high = (c & 0x0F0F0F0F) | (a >> 2 & 0x30303030);
        const uint32_t minimums_high = (c >> 4 & 0x0F0F0F0F) | (b >> 2 & 0x30303030);
        scales = (a & 0x3F3F3F3F) | static_cast<uint64_t>(scales_high) << 32;
        minimums = (b & 0x3F3F3F3F) | static_cast<uint64_t>(minimums_high) << 32;
    }
};

// Eight bytes, each twice, as int16: a minimum of 32 weights meets two sums of 16 activations.
LLMCORE_INLINE __m256i doubled(uint64_t bytes) {
    const __m128i x = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(x, x));
}

}  // namespace
}  // namespace llmcore
