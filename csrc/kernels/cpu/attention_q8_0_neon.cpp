// Attention over a cache of Q8_0 with NEON.
#include "kernels/cpu/attention_simd.h"

namespace llmcore {
namespace {

// The shape does not say how long the context is: a thousand positions.
double cost(const Shape* shape) {
    return 50 + 40 * static_cast<double>(shape->m) * static_cast<double>(shape->n_heads * shape->head_dim);
}

}  // namespace

extern constinit const Kernel attention_q8_0_neon = {
    .name = "attention_q8_0_neon",
    .op = Op::attention,
    .weight_format = Format::Q8_0,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = attention_supports<Q8Rows>,
    .cost = cost,
    .workspace_bytes = attention_workspace<Q8Rows>,
    .run = attention_run<Q8Rows>,
};

}  // namespace llmcore
