// Attention over a cache of BF16 in double: the reference.
#include "kernels/cpu/attention_scalar.h"

namespace llmcore {

extern constinit const Kernel attention_bf16_scalar = {
    .name = "attention_bf16_scalar",
    .op = Op::attention,
    .weight_format = Format::BF16,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = attention_supports<Bf16Rows>,
    .cost = attention_cost,
    .workspace_bytes = attention_workspace,
    .run = attention_run<Bf16Rows>,
};

}  // namespace llmcore
