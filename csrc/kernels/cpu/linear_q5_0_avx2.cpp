// 5-bit weights minus 16.
#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ5_0;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::zero_point;
    static constexpr float kZero = 16;

    static LLMCORE_INLINE __m256i q(const Block& block) {
        return _mm256_or_si256(split_nibbles(block.qs), spread_bits(load_u32(block.qh), 16));
    }
};

using Panels = BlockPanels<Weights, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 22.0 / 32, 42); }

}  // namespace

extern constinit const Kernel linear_q5_0_avx2 = {
    .name = "linear_q5_0_avx2",
    .op = Op::linear,
    .weight_format = Format::Q5_0,
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
