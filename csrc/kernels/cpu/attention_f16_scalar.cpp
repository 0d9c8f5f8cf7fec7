// Attention over a cache of F16 in double: the reference.
#include "kernels/cpu/attention_scalar.h"
#include "quant/block_expand.h"

namespace llmcore {
namespace {

struct Cell {
    using Stored = uint16_t;
    static float load(Stored x) { return expand_half(x); }
};

}  // namespace

extern constinit const Kernel attention_f16_scalar = {
    .name = "attention_f16_scalar",
    .op = Op::attention,
    .weight_format = Format::F16,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = attention_supports,
    .cost = attention_cost,
    .workspace_bytes = attention_workspace,
    .run = attention_run<Cell>,
};

}  // namespace llmcore
