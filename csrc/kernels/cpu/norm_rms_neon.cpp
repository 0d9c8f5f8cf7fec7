// RMSNorm with NEON.
#include "kernels/cpu/norm_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * (10 + 0.15 * static_cast<double>(shape->n));
}

}  // namespace

extern constinit const Kernel norm_rms_neon = {
    .name = "norm_rms_neon",
    .op = Op::norm,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = norm_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = norm_run,
};

}  // namespace llmcore
