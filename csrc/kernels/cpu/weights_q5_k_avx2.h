// 5-bit weights above minimums, eight of each a super-block.
#pragma once

#include "kernels/cpu/k_scales_avx2.h"
#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ5_K;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::minimum;
    const Block* block;
    __m256i scales;
    __m256i bias;
    float d, dmin;

    explicit LLMCORE_INLINE Weights(const Block* from) : block(from) {
        const ScalesAndMinimums packed(block->scales);
        scales = scales_of_32(packed.scales);
        bias = doubled(packed.minimums);
        d = half_to_float(block->d);
        dmin = half_to_float(block->dmin);
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        const __m256i bytes = load_256(block->qs + J / 2 * 32);
        const __m256i low = _mm256_and_si256(move_bits<J % 2 * 4, 0>(bytes), _mm256_set1_epi8(15));
        const __m256i high = _mm256_and_si256(move_bits<J, 4>(load_256(block->qh)), _mm256_set1_epi8(16));
        return _mm256_or_si256(low, high);
    }

    template <int J>
    LLMCORE_INLINE __m256i scale() const {
        return pick_scale<J>(scales);
    }
};

using Panels = SuperBlockPanels<Weights, 32, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 176.0 / 256, 63); }

}  // namespace
}  // namespace llmcore
