// 4-bit weights above a minimum.
#pragma once

#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ4_1;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::minimum;

    static LLMCORE_INLINE __m256i of_nibbles(__m256i nibbles) { return nibbles; }

    static LLMCORE_INLINE __m256i q(const Block& block) { return split_nibbles(block.qs); }
};

using Panels = BlockPanels<Weights, 8>;

double cost(const Shape* shape) { return linear_cost(shape, 20.0 / 32, 48); }

}  // namespace
}  // namespace llmcore
