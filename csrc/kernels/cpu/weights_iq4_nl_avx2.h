// 4-bit weights that index a table.
#pragma once

#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockIQ4_NL;
    static constexpr bool kSigned = true;
    static constexpr Offset kOffset = Offset::none;

    static LLMCORE_INLINE __m256i q(const Block& block) { return iq4_values(split_nibbles(block.qs)); }
};

using Panels = BlockPanels<Weights, 1>;

double cost(const Shape* shape) { return linear_cost(shape, 18.0 / 32, 40); }

}  // namespace
}  // namespace llmcore
