// Writes keys and values into a cache of F32.
#include "kernels/cpu/kv_store_scalar.h"

namespace llmcore {

extern constinit const Kernel kv_store_f32_scalar = {
    .name = "kv_store_f32_scalar",
    .op = Op::kv_store,
    .weight_format = Format::F32,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = kv_store_supports<F32Rows>,
    .cost = kv_store_cost,
    .workspace_bytes = nullptr,
    .run = kv_store_run<F32Rows>,
};

}  // namespace llmcore
