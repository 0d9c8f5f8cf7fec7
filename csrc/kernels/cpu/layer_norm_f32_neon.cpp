// LayerNorm with NEON.
#include "kernels/cpu/layer_norm_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * (15 + 0.22 * static_cast<double>(shape->n));
}

}  // namespace

extern constinit const Kernel layer_norm_f32_neon = {
    .name = "layer_norm_f32_neon",
    .op = Op::layer_norm,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = layer_norm_supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = layer_norm_run,
};

}  // namespace llmcore
