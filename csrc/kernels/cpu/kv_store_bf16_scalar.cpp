// Writes keys and values into a cache of BF16.
#include "kernels/cpu/kv_store_scalar.h"

namespace llmcore {

extern constinit const Kernel kv_store_bf16_scalar = {
    .name = "kv_store_bf16_scalar",
    .op = Op::kv_store,
    .weight_format = Format::BF16,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = kv_store_supports<Bf16Rows>,
    .cost = kv_store_cost,
    .workspace_bytes = nullptr,
    .run = kv_store_run<Bf16Rows>,
};

}  // namespace llmcore
