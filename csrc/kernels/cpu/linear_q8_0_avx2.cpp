// 8-bit weights.
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

extern constinit const Kernel linear_q8_0_avx2 = {
    .name = "linear_q8_0_avx2",
    .op = Op::linear,
    .weight_format = Format::Q8_0,
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
