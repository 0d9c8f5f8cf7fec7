// How IQ1_S unpacks.
#pragma once

#include "kernels/cpu/grid_vectors_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"
#include "quant/grids.h"

namespace llmcore {
namespace {

struct IQ1_S {
    static constexpr Format kFormat = Format::IQ1_S;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ1_S);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

    // Weights 64 * part and up: 0, 1 and 2.
    [[gnu::always_inline]] static __m512i vectors(const uint8_t* p, int part) {
        const uint8_t* qs = p + offsetof(BlockIQ1_S, qs) + 8 * part;
        const uint8_t* qh = p + offsetof(BlockIQ1_S, qh) + 4 * part;
        constexpr uint64_t kHigh = 0x0700070007000700;
        return load_eight_vectors(kGridIQ1.values, join_indices(load_u32(qs), load_u16(qh), kHigh),
                                  join_indices(load_u32(qs + 4), load_u16(qh + 2), kHigh));
    }

    // A weight is an eighth of d * (2 * scale + 1) * (8 * byte - 8 + 1), or - 1 where the highest bit is set.
    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m128i qh = load_16_bytes(p + offsetof(BlockIQ1_S, qh));
        const __m256i words = _mm256_cvtepu16_epi32(qh);
        const __m256i odd = _mm256_or_si256(
            _mm256_and_si256(_mm256_srli_epi32(words, 11), _mm256_set1_epi32(0x0E)), _mm256_set1_epi32(1));
        const __m256i twice = _mm256_or_si256(odd, _mm256_slli_epi32(odd, 16));
        const __m256i shift = _mm256_srli_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0x8000)), 14);
        const __m256i eighths = _mm256_add_epi32(_mm256_set1_epi32(7), shift);
        const __m256i minimum = _mm256_mullo_epi16(odd, eighths);
        const float d = 0.125F * load_half(p);
        return {{vectors(p, 0), vectors(p, 1), vectors(p, 2), vectors(p, 3)},
                _mm256_slli_epi16(twice, 3),
                _mm256_or_si256(minimum, _mm256_slli_epi32(minimum, 16)),
                d,
                d};
    }
};

}  // namespace
}  // namespace llmcore
