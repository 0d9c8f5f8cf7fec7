// 5-bit weights above a minimum.
#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ5_1;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::minimum;

    static LLMCORE_INLINE __m256i q(const Block& block) {
        return _mm256_or_si256(split_nibbles(block.qs), spread_bits(load_u32(block.qh), 16));
    }
};

using Panels = BlockPanels<Weights, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 24.0 / 32, 40); }

}  // namespace

extern constinit const Kernel linear_q5_1_avx2 = {
    .name = "linear_q5_1_avx2",
    .op = Op::linear,
    .weight_format = Format::Q5_1,
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
