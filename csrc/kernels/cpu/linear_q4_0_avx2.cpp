// 4-bit weights minus 8.
#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ4_0;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::zero_point;
    static constexpr float kZero = 8;

    static LLMCORE_INLINE __m256i q(const Block& block) { return split_nibbles(block.qs); }
};

using Panels = BlockPanels<Weights, 8>;

double cost(const Shape* shape) { return linear_cost(shape, 18.0 / 32, 50); }

}  // namespace

extern constinit const Kernel linear_q4_0_avx2 = {
    .name = "linear_q4_0_avx2",
    .op = Op::linear,
    .weight_format = Format::Q4_0,
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
