// Writes keys and values into a cache of F16.
#include "kernels/cpu/kv_store_scalar.h"
#include "quant/half.h"

namespace llmcore {
namespace {

struct Cell {
    using Stored = uint16_t;
    static Stored store(float x) { return round_to_half(x); }
};

}  // namespace

extern constinit const Kernel kv_store_f16_scalar = {
    .name = "kv_store_f16_scalar",
    .op = Op::kv_store,
    .weight_format = Format::F16,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = kv_store_supports,
    .cost = kv_store_cost,
    .workspace_bytes = nullptr,
    .run = kv_store_run<Cell>,
};

}  // namespace llmcore
