// The fifth bits of Q5_0 and Q5_1: four blocks, 32 bits each.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

struct FifthBits {
    __mmask64 low;  // of elements 0-15 of each block
    __mmask64 high;
};

// bits: the four blocks' 32-bit masks.
inline FifthBits spread_fifth_bits(__m128i bits) {
    // The first and the second 16 bits of each, side by side.
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const __m128i sorted = _mm_shuffle_epi8(bits, order);
    return {static_cast<__mmask64>(_mm_cvtsi128_si64(sorted)),
            static_cast<__mmask64>(_mm_extract_epi64(sorted, 1))};
}

inline FifthBits load_fifth_bits(const uint8_t* p, int64_t block_bytes) {
    return spread_fifth_bits(_mm_setr_epi32(
        static_cast<int>(load_u32(p)), static_cast<int>(load_u32(p + block_bytes)),
        static_cast<int>(load_u32(p + 2 * block_bytes)), static_cast<int>(load_u32(p + 3 * block_bytes))));
}

// Nibbles of 16 bytes of each block, with 16 added where the bit is set.
inline __m512i low_fives(__m512i bytes, const FifthBits& bits) {
    const __m512i nibbles = _mm512_and_si512(bytes, _mm512_set1_epi8(0x0F));
    return _mm512_mask_add_epi8(nibbles, bits.low, nibbles, _mm512_set1_epi8(16));
}

inline __m512i high_fives(__m512i bytes, const FifthBits& bits) {
    const __m512i nibbles = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(0x0F));
    return _mm512_mask_add_epi8(nibbles, bits.high, nibbles, _mm512_set1_epi8(16));
}

}  // namespace
}  // namespace llmcore
