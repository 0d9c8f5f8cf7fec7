// Sums of exponentials of a row's blocks with NEON.
#include "kernels/cpu/exp_sum_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) { return 10 + 0.30 * static_cast<double>(shape->n); }

}  // namespace

extern constinit const Kernel exp_sum_f32_neon = {
    .name = "exp_sum_f32_neon",
    .op = Op::exp_sum,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = exp_sum_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = exp_sum_run,
};

}  // namespace llmcore
