// How TQ1_0 unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct TQ1_0 {
    static constexpr Format kFormat = Format::TQ1_0;
    static constexpr int64_t kBlockBytes = sizeof(BlockTQ1_0);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    // A digit of 48 bytes is three units. The fourth lane group is the last unit, and then the three that the
    // fifth digit makes.
    static constexpr uint8_t kUnits[16] = {0, 1, 10, 15, 2, 3, 11, 8, 4, 5, 12, 9, 6, 7, 13, 14};

    // 48 bytes, and 4 behind them times 1, 3, 9 and 27.
    static __m512i load_digits(const uint8_t* p) {
        const __m512i qs = _mm512_maskz_loadu_epi8(0x0000FFFFFFFFFFFF, p);
        const __m128i qh = _mm_set1_epi32(static_cast<int>(load_u32(p + offsetof(BlockTQ1_0, qh))));
        const __m256i powers = _mm256_setr_epi16(1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27);
        const __m128i last = _mm256_cvtepi16_epi8(_mm256_mullo_epi16(_mm256_cvtepu8_epi16(qh), powers));
        return _mm512_inserti32x4(qs, last, 3);
    }

    static __m512i times_three(__m512i x) { return _mm512_add_epi8(_mm512_add_epi8(x, x), x); }

    // 3 * x / 256, from averages that round up: (x + x / 2) / 2 without a carry out of the byte.
    static __m512i leading_digit(__m512i x) {
        const __m512i less = _mm512_subs_epu8(x, _mm512_set1_epi8(1));
        const __m512i sum = _mm512_avg_epu8(less, _mm512_avg_epu8(less, _mm512_setzero_si512()));
        return _mm512_and_si512(_mm512_srli_epi16(sum, 6), _mm512_set1_epi8(3));
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i first = load_digits(p);
        const __m512i second = times_three(first);
        const __m512i third = times_three(second);
        const __m512i fourth = times_three(third);
        const __m512i fifth = times_three(fourth);
        const __m256i ones = _mm256_set1_epi16(1);
        const float d = load_half(p + offsetof(BlockTQ1_0, d));
        return {{leading_digit(first),
                 leading_digit(_mm512_mask_shuffle_i32x4(second, 0xF000, fifth, fifth, 0x00)),
                 leading_digit(_mm512_mask_shuffle_i32x4(third, 0xF000, fifth, fifth, 0x40)),
                 leading_digit(_mm512_mask_shuffle_i32x4(fourth, 0xF000, fifth, fifth, 0x80))},
                ones,
                ones,
                d,
                d};
    }
};

}  // namespace
}  // namespace llmcore
