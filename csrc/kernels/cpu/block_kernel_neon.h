// The kernel of a quantized format, for the instruction set this file is compiled for.
#pragma once

#include "kernels/cpu/linear_panels_neon.h"

namespace llmcore {
namespace {

template <class Weights>
constexpr Kernel block_kernel(const char* name) {
    Kernel kernel = {.name = name,
                     .op = Op::linear,
                     .weight_format = Weights::kFormat,
                     .weight_layout = Layout::gguf,
                     .act_layout = Layout::q8_32,
                     .out_layout = Layout::f32,
                     .isa = kBlockIsa,
                     .supports = block_supports<Weights>,
                     .cost = block_cost<Weights>,
                     .workspace_bytes = nullptr,
                     .run = linear_run<BlockDot<Weights>>};
#if defined(__ARM_FEATURE_DOTPROD)
    kernel.workspace_bytes = panels_workspace<Weights>;
    kernel.run = rows_or_panels_run<Weights>;
#endif
    return kernel;
}

}  // namespace
}  // namespace llmcore
