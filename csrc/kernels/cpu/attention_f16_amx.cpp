// Attention over a cache of F16 with AMX.
#include "kernels/cpu/attention_tiles_amx.h"

namespace llmcore {
namespace {

// Half of what attention_f16_avx512 expects, from 32 tokens on: an estimate, not a measurement.
double cost(const Shape* shape) {
    const double width = static_cast<double>(shape->n_heads * shape->head_dim);
    return 50 + (shape->m < 32 ? 30 : 12) * static_cast<double>(shape->m) * width;
}

}  // namespace

extern constinit const Kernel attention_f16_amx = {
    .name = "attention_f16_amx",
    .op = Op::attention,
    .weight_format = Format::F16,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::amx,
    .supports = tile_attention_supports<F16Rows>,
    .cost = cost,
    .workspace_bytes = tile_attention_workspace<F16Rows>,
    .run = tile_attention_run<F16Rows>,
};

}  // namespace llmcore
