// 4-bit weights above a minimum.
#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ4_1;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::minimum;

    static LLMCORE_INLINE __m256i q(const Block& block) { return split_nibbles(block.qs); }
};

using Panels = BlockPanels<Weights, 8>;

double cost(const Shape* shape) { return linear_cost(shape, 20.0 / 32, 48); }

}  // namespace

extern constinit const Kernel linear_q4_1_avx2 = {
    .name = "linear_q4_1_avx2",
    .op = Op::linear,
    .weight_format = Format::Q4_1,
    .weight_layout = Layout::gguf,
    .act_layout = Layout::q8_32,
    .out_layout = Layout::f32,
    .isa = Isa::avx2,
    .supports = q8x32_supports,
    .cost = cost,
    .workspace_bytes = panels_workspace<Panels>,
    .run = rows_or_panels_run<Q8x32Dot<Weights>, Panels>,
};

}  // namespace llmcore
