// How Q3_K unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q3_K {
    static constexpr Format kFormat = Format::Q3_K;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ3_K);
    static constexpr int kScaleColumns = 16;
    static constexpr bool kWide = false;
    // As Q2_K; bit j of the 32 bytes of hmask is the third bit of weights 32 * j and up.
    static constexpr uint8_t kUnits[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};

    // Two bits, and bit `low_bit` of the lower 32 bytes and low_bit + 4 of the upper ones as the third.
    static __m512i three_bits(__m512i two, __m512i mask, int low_bit) {
        const __m512i turns =
            _mm512_inserti64x4(_mm512_set1_epi32(2 - low_bit), _mm256_set1_epi32(-2 - low_bit), 1);
        const __m512i third = _mm512_rolv_epi32(mask, _mm512_and_si512(turns, _mm512_set1_epi32(31)));
        return nibble_with_high(two, third, _mm512_set1_epi8(3), _mm512_set1_epi8(4));
    }

    // Sixteen 6-bit scales: the low four bits in nibbles, the high two below one another in four bytes.
    static __m256i unpack_scales(const uint8_t* p) {
        const uint64_t low = load_u64(p);
        const uint64_t high = load_u32(p + 8);
        const uint64_t first = (high << 4 & 0x30303030u) | ((high << 2 & 0x30303030u) << 32);
        const uint64_t second = (high & 0x30303030u) | ((high >> 2 & 0x30303030u) << 32);
        constexpr uint64_t kNibbles = 0x0F0F0F0F0F0F0F0F;
        const __m128i bytes = _mm_set_epi64x(static_cast<int64_t>((low >> 4 & kNibbles) | second),
                                             static_cast<int64_t>((low & kNibbles) | first));
        return _mm256_cvtepi8_epi16(_mm_sub_epi8(bytes, _mm_set1_epi8(32)));
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i v = load_bytes(p + offsetof(BlockQ3_K, qs));
        const __m512i mask = load_32_bytes_twice(p + offsetof(BlockQ3_K, hmask));
        const __m256i scales = unpack_scales(p + offsetof(BlockQ3_K, scales));
        const float d = load_half(p + offsetof(BlockQ3_K, d));
        return {{three_bits(v, mask, 0), three_bits(_mm512_srli_epi16(v, 2), mask, 1),
                 three_bits(_mm512_srli_epi16(v, 4), mask, 2), three_bits(_mm512_srli_epi16(v, 6), mask, 3)},
                scales,
                scales,
                d,
                4.0F * d};
    }
};

}  // namespace
}  // namespace llmcore
