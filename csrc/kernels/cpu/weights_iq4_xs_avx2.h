// 4-bit weights that index a table, eight scales of 6 bits a super-block.
#pragma once

#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockIQ4_XS;
    static constexpr bool kSigned = true;
    static constexpr Bias kBias = Bias::none;
    __m256i scales;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) : d(half_to_float(from->d)) {
        const __m256i words = unpack_scales(*from);
        scales = _mm256_permute4x64_epi64(_mm256_packs_epi32(words, words), 0x88);
    }

    static LLMCORE_INLINE GroupScales open(const Block& block) {
        const __m256 scales = _mm256_cvtepi32_ps(unpack_scales(block));
        return {_mm256_mul_ps(scales, broadcast_half(block.d)), _mm256_setzero_ps()};
    }

    // Eight nibbles and their upper pairs of bits, minus 32.
    static LLMCORE_INLINE __m256i unpack_scales(const Block& from) {
        const __m256i lows = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(load_u32(from.scales_l))),
                                               _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
        const __m256i highs = _mm256_srlv_epi32(_mm256_set1_epi32(from.scales_h << 4),
                                                _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
        const __m256i low = _mm256_and_si256(lows, _mm256_set1_epi32(15));
        const __m256i high = _mm256_and_si256(highs, _mm256_set1_epi32(0x30));
        return _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    }

    static LLMCORE_INLINE __m256i of_nibbles(__m256i nibbles) { return iq4_values(nibbles); }

    template <int J>
    static LLMCORE_INLINE __m256i q_of(const Block& block) {
        return of_nibbles(split_nibbles(block.qs + 16 * J));
    }
};

using Panels = SuperBlockPanels<Weights, 32, 1>;

double cost(const Shape* shape) { return linear_cost(shape, 136.0 / 256, 58); }

}  // namespace
}  // namespace llmcore
