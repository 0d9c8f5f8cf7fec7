// 4-bit weights that index a table.
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

extern constinit const Kernel linear_iq4_nl_avx2 = {
    .name = "linear_iq4_nl_avx2",
    .op = Op::linear,
    .weight_format = Format::IQ4_NL,
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
