// How IQ1_M unpacks.
#pragma once

#include "kernels/cpu/grid_vectors_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"
#include "quant/grids.h"

namespace llmcore {
namespace {

struct IQ1_M {
    static constexpr Format kFormat = Format::IQ1_M;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ1_M);
    static constexpr int kScaleColumns = 16;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr int kOffset = 9;

    // 2 * scale + 1 of three bits four times in each of four words.
    static __m256i unpack_scales(uint64_t words) {
        const __m256i four = _mm256_cvtepu16_epi64(_mm_cvtsi64_si128(static_cast<int64_t>(words)));
        const __m256i four_times = _mm256_shuffle_epi8(four, repeat_words());
        const __m256i three = _mm256_srlv_epi16(four_times, _mm256_set1_epi64x(0x0009000600030000));
        const __m256i scales = _mm256_and_si256(three, _mm256_set1_epi16(7));
        return _mm256_add_epi16(_mm256_slli_epi16(scales, 1), _mm256_set1_epi16(1));
    }

    // The highest nibble of each of four words.
    static float unpack_d(uint64_t words) {
        const uint64_t tops = words & 0xF000F000F000F000;
        const auto half = static_cast<int>((tops >> 12 | tops >> 24 | tops >> 36 | tops >> 48) & 0xFFFF);
        return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
    }

    // Weights 64 * part and up, in eighths plus kOffset: 8 * (vector - 1) + 1, or - 1 where the fourth bit of
    // a nibble is set.
    [[gnu::always_inline]] static __m512i vectors(const uint8_t* p, int part) {
        const uint8_t* qs = p + offsetof(BlockIQ1_M, qs) + 8 * part;
        const uint32_t nibbles = load_u32(p + offsetof(BlockIQ1_M, qh) + 4 * part);
        constexpr uint64_t kNibble = 0x0F000F000F000F00;
        constexpr uint64_t kIndex = 0x07FF07FF07FF07FF;
        const uint64_t first = join_indices(load_u32(qs), nibbles, kNibble) & kIndex;
        const uint64_t second = join_indices(load_u32(qs + 4), nibbles >> 16, kNibble) & kIndex;
        const __m512i eighths = _mm512_slli_epi16(load_eight_vectors(kGridIQ1.values, first, second), 3);
        const auto up = static_cast<__mmask8>(~_pext_u32(nibbles, 0x88888888));
        return _mm512_mask_add_epi64(eighths, up, eighths, _mm512_set1_epi8(2));
    }

    // The order in which _mm256_shuffle_epi8 repeats the lowest 16 bits of each 64.
    static __m256i repeat_words() {
        return _mm256_setr_epi64x(0x0100010001000100, 0x0908090809080908, 0x0100010001000100,
                                  0x0908090809080908);
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const uint64_t words = load_u64(p + offsetof(BlockIQ1_M, scales));
        const __m256i scales = unpack_scales(words);
        const float d = 0.125F * unpack_d(words);
        return {{vectors(p, 0), vectors(p, 1), vectors(p, 2), vectors(p, 3)},
                scales,
                scales,
                d,
                static_cast<float>(kOffset) * d};
    }
};

}  // namespace
}  // namespace llmcore
