// attention_decode() over a cache of Q8_0 on tensor cores, for the head sizes that have a kernel.
#pragma once

#include "cuda/kernels/attention.h"

namespace llmcore::cuda {

// False: no such kernel, nothing was launched. `shape` has the grid of attention_decode(), whose CTAs have up
// to n_queries queries.
bool attention_decode_q8(const Stream& stream, const AttentionStepArgs& args, const LaunchShape& shape,
                         int n_queries);

}  // namespace llmcore::cuda
