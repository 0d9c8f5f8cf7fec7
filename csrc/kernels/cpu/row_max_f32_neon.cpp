// Largest values of a row's blocks with NEON.
#include "kernels/cpu/row_max_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) { return 10 + 0.08 * static_cast<double>(shape->n); }

}  // namespace

extern constinit const Kernel row_max_f32_neon = {
    .name = "row_max_f32_neon",
    .op = Op::row_max,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = row_max_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = row_max_run,
};

}  // namespace llmcore
