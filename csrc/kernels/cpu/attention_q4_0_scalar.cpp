// Attention over a cache of Q4_0 in double: the reference.
#include "kernels/cpu/attention_scalar.h"

namespace llmcore {

extern constinit const Kernel attention_q4_0_scalar = {
    .name = "attention_q4_0_scalar",
    .op = Op::attention,
    .weight_format = Format::Q4_0,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = attention_supports<Q4Rows>,
    .cost = attention_cost,
    .workspace_bytes = attention_workspace,
    .run = attention_run<Q4Rows>,
};

}  // namespace llmcore
