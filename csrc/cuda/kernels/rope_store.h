// Rotates q and k, then writes k and v into the cache.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/step.h"
#include "kernels/kernel.h"

namespace llmcore::cuda {

// The arrays of StepView, inv_freq and the norms must not be written by a kernel of the same step: they are
// read before the kernel waits for the ones before it. A row with a negative position is left alone and
// stores nothing.
struct RopeStoreArgs {
    float* q;  // n_heads * head_dim a row; normalized and rotated in place
    const float* k;
    const float* v;
    int64_t q_stride;  // floats between rows
    int64_t k_stride;
    int64_t v_stride;
    StepView step;
    KvLayer kv;
    int32_t n_heads;
    RopeStyle style;
    int32_t rope_dims;      // the first rope_dims of a head turn, the rest stay
    const float* inv_freq;  // rope_dims / 2
    float magnitude;
    const float* q_norm;  // null, or head_dim: RMSNorm of each head before the rotation
    const float* k_norm;
    float norm_eps;
};

// Heads of an even number of dimensions, up to 256.
void rope_store(const Stream& stream, const RopeStoreArgs& args);

}  // namespace llmcore::cuda
