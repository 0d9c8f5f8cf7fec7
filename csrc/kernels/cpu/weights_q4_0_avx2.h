// 4-bit weights minus 8.
#pragma once

#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ4_0;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::zero_point;
    static constexpr float kZero = 8;

    static LLMCORE_INLINE __m256i of_nibbles(__m256i nibbles) { return nibbles; }

    static LLMCORE_INLINE __m256i q(const Block& block) { return split_nibbles(block.qs); }
};

using Panels = BlockPanels<Weights, 8>;

double cost(const Shape* shape) { return linear_cost(shape, 18.0 / 32, 50); }

}  // namespace
}  // namespace llmcore
