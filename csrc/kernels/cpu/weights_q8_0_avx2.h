// 8-bit weights.
#pragma once

#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ8_0;
    static constexpr bool kSigned = true;
    static constexpr Offset kOffset = Offset::none;

    static LLMCORE_INLINE __m256i q(const Block& block) { return load_256(block.qs); }
};

using Panels = BlockPanels<Weights, 1>;

double cost(const Shape* shape) { return linear_cost(shape, 34.0 / 32, 50); }

}  // namespace
}  // namespace llmcore
