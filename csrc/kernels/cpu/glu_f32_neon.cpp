// Gated linear unit with NEON.
#include "kernels/cpu/glu_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * (5 + 0.80 * static_cast<double>(shape->n));
}

}  // namespace

extern constinit const Kernel glu_f32_neon = {
    .name = "glu_f32_neon",
    .op = Op::glu,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = glu_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = glu_run,
};

}  // namespace llmcore
