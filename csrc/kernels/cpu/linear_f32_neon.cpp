// F32 weights.
#include "kernels/cpu/linear_float_neon.h"

namespace llmcore {
namespace {

struct Cell {
    using Stored = float;
    static LLMCORE_INLINE float32x4_t load(const Stored* p) { return vld1q_f32(p); }
};

double cost(const Shape* shape) { return linear_cost(shape, 4, 12); }

}  // namespace

extern constinit const Kernel linear_f32_neon = {
    .name = "linear_f32_neon",
    .op = Op::linear,
    .weight_format = Format::F32,
    .weight_layout = Layout::gguf,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = float_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = linear_run<FloatDot<Cell>>,
};

}  // namespace llmcore
