// How Q5_K unpacks.
#pragma once

#include "kernels/cpu/k_scales_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q5_K {
    static constexpr Format kFormat = Format::Q5_K;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ5_K);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    // As Q4_K; bit j of the 32 bytes of qh is the fifth bit of weights 32 * j and up.
    static constexpr uint8_t kUnits[16] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};

    // Turns bit `low_bit` of the lower 32 bytes and low_bit + 2 of the upper ones into bit 4.
    static __m512i fifth(__m512i bits, int low_bit) {
        const __m512i turns =
            _mm512_inserti64x4(_mm512_set1_epi32(4 - low_bit), _mm256_set1_epi32(2 - low_bit), 1);
        return _mm512_rolv_epi32(bits, _mm512_and_si512(turns, _mm512_set1_epi32(31)));
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        const __m512i sixteen = _mm512_set1_epi8(16);
        const __m512i a = load_bytes(p + offsetof(BlockQ5_K, qs));
        const __m512i b = load_bytes(p + offsetof(BlockQ5_K, qs) + 64);
        const __m512i bits = load_32_bytes_twice(p + offsetof(BlockQ5_K, qh));
        const KScales k = load_k_scales(p + offsetof(BlockQ5_K, scales));
        return {{nibble_with_high(a, fifth(bits, 0), nibble, sixteen),
                 nibble_with_high(_mm512_srli_epi16(a, 4), fifth(bits, 1), nibble, sixteen),
                 nibble_with_high(b, fifth(bits, 4), nibble, sixteen),
                 nibble_with_high(_mm512_srli_epi16(b, 4), fifth(bits, 5), nibble, sixteen)},
                k.scales,
                k.minimums,
                load_half(p),
                load_half(p + offsetof(BlockQ5_K, dmin))};
    }
};

}  // namespace
}  // namespace llmcore
