// Attention over a cache of F32 in double: the reference.
#include "kernels/cpu/attention_scalar.h"

namespace llmcore {

extern constinit const Kernel attention_f32_scalar = {
    .name = "attention_f32_scalar",
    .op = Op::attention,
    .weight_format = Format::F32,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = attention_supports<F32Rows>,
    .cost = attention_cost,
    .workspace_bytes = attention_workspace,
    .run = attention_run<F32Rows>,
};

}  // namespace llmcore
