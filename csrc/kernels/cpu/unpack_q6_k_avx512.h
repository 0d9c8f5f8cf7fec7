// How Q6_K unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q6_K {
    static constexpr Format kFormat = Format::Q6_K;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ6_K);
    static constexpr int kScaleColumns = 16;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        const __m512i high = _mm512_set1_epi8(0x30);
        // Of each half of 128 weights: bits 0-1 of 32 bytes belong to the first 32 weights, 2-3 to the next,
        // and so on.
        const __m512i left = _mm512_inserti64x4(_mm512_set1_epi32(4), _mm256_set1_epi32(2), 1);
        const __m512i right = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(2), 1);
        Superblock w;
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
            const __m512i low = load_bytes(p + 64 * half);
            const __m512i bits = load_32_bytes_twice(p + offsetof(BlockQ6_K, qh) + 32 * half);
            w.bytes[2 * half] = nibble_with_high(low, _mm512_sllv_epi32(bits, left), nibble, high);
            w.bytes[2 * half + 1] =
                nibble_with_high(_mm512_srli_epi16(low, 4), _mm512_srlv_epi32(bits, right), nibble, high);
        }
        w.scales = _mm256_cvtepi8_epi16(load_16_bytes(p + offsetof(BlockQ6_K, scales)));
        w.minimums = w.scales;
        w.d = load_half(p + offsetof(BlockQ6_K, d));
        w.dmin = 32.0F * w.d;
        return w;
    }
};

}  // namespace
}  // namespace llmcore
