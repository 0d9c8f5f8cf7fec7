// Writes keys and values into a cache of F32 with NEON.
#include "kernels/cpu/kv_store_simd.h"

namespace llmcore {
namespace {

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) *
                    (5 + 0.40 * static_cast<double>(shape->n_kv_heads * shape->head_dim));
}

}  // namespace

extern constinit const Kernel kv_store_f32_neon = {
    .name = "kv_store_f32_neon",
    .op = Op::kv_store,
    .weight_format = Format::F32,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = kv_store_supports<F32Rows>,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = kv_store_run<F32Rows>,
};

}  // namespace llmcore
