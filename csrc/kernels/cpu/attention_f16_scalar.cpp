// Attention over a cache of F16 in double: the reference.
#include "kernels/cpu/attention_scalar.h"

namespace llmcore {

extern constinit const Kernel attention_f16_scalar = {
    .name = "attention_f16_scalar",
    .op = Op::attention,
    .weight_format = Format::F16,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = attention_supports<F16Rows>,
    .cost = attention_cost,
    .workspace_bytes = attention_workspace,
    .run = attention_run<F16Rows>,
};

}  // namespace llmcore
