// Writes keys and values into a cache of Q8_0.
#include "kernels/cpu/kv_store_scalar.h"

namespace llmcore {

extern constinit const Kernel kv_store_q8_0_scalar = {
    .name = "kv_store_q8_0_scalar",
    .op = Op::kv_store,
    .weight_format = Format::Q8_0,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = kv_store_supports<Q8Rows>,
    .cost = kv_store_cost,
    .workspace_bytes = nullptr,
    .run = kv_store_run<Q8Rows>,
};

}  // namespace llmcore
