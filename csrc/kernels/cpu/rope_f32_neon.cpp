// Rotary position embedding with NEON: angles in double, the rest in float.
#include "kernels/cpu/rope_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * static_cast<double>(shape->head_dim) *
                    (2 + 0.20 * static_cast<double>(shape->n_heads));
}

}  // namespace

extern constinit const Kernel rope_f32_neon = {
    .name = "rope_f32_neon",
    .op = Op::rope,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = rope_supports,
    .cost = cost,
    .workspace_bytes = rope_workspace,
    .run = rope_run,
};

}  // namespace llmcore
