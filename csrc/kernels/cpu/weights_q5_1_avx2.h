// 5-bit weights above a minimum.
#pragma once

#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ5_1;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::minimum;

    static LLMCORE_INLINE __m256i q(const Block& block) {
        return _mm256_or_si256(split_nibbles(block.qs), spread_bits<16>(load_u32(block.qh)));
    }
};

using Panels = BlockPanels<Weights, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 24.0 / 32, 40); }

}  // namespace
}  // namespace llmcore
