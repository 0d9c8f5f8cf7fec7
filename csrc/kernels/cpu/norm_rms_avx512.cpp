// RMSNorm with AVX-512.
#include "kernels/cpu/norm_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * (10 + 0.09 * static_cast<double>(shape->n));
}

}  // namespace

extern constinit const Kernel norm_rms_avx512 = {
    .name = "norm_rms_avx512",
    .op = Op::norm,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::avx512,
    .supports = norm_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = norm_run,
};

}  // namespace llmcore
