// F16 weights.
#include "kernels/cpu/linear_float_neon.h"

namespace llmcore {
namespace {

struct Cell {
    using Stored = uint16_t;
    static LLMCORE_INLINE float32x4_t load(const Stored* p) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
    }
};

double cost(const Shape* shape) { return linear_cost(shape, 2, 10); }

}  // namespace

extern constinit const Kernel linear_f16_neon = {
    .name = "linear_f16_neon",
    .op = Op::linear,
    .weight_format = Format::F16,
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
