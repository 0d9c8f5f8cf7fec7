// Attention over the paged cache: softmax(scale * q k^T) v for rows of a step.
//
// The arrays of StepView, `rows`, `tiles` and `sinks` must not be written by a kernel of the same step:
// kernels read them before they wait for the ones before them. A causal row with a negative position sees
// nothing and gives zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/step.h"

namespace llmcore::cuda {

struct AttentionStepArgs {
    const float* q;  // n_heads * head_dim a row
    float* out;
    int64_t q_stride;  // floats between rows
    int64_t out_stride;
    StepView step;
    KvLayer kv;
    const int32_t* rows;  // decode: the rows to do; null: 0 .. n_rows - 1
    const int4* tiles;    // prefill: {sequence, first row, rows (at most kPrefillRows), unused}; decode: null
    int32_t n_rows;
    int32_t n_tiles;
    int32_t n_heads;
    int32_t n_splits;         // decode: how many CTAs share a row's keys
    int32_t multiprocessors;  // of the device
    float scale;
    float softcap;       // 0: none; otherwise scores become softcap * tanh(score / softcap)
    int32_t window;      // 0: none; otherwise only the last `window` positions are seen
    const float* sinks;  // null, or one logit a head that joins the softmax's denominator
    bool causal;         // false: every row sees the whole cached sequence (kv_lens)
    void*
        workspace;  // decode with n_splits > 1; attention_decode_workspace_bytes(), zeroed once at allocation
};

constexpr int kPrefillRows = 64;
constexpr int kMaximumSplits = 64;

// For rows with few others of their sequence beside them: each reads its keys and values by itself.
void attention_decode(const Stream& stream, const AttentionStepArgs& args);

// For tiles of consecutive rows of a sequence, which share what they read. Needs no workspace.
void attention_prefill(const Stream& stream, const AttentionStepArgs& args);

// Zero it once, when it is allocated: kernels leave it ready for the next. One workspace serves launches of
// any shape up to that of the call (bytes grow with every argument), as long as they come one after another.
std::size_t attention_decode_workspace_bytes(int64_t n_rows, int64_t n_heads, int64_t head_dim,
                                             int64_t n_splits);

// A power of two, for about two waves of CTAs. `longest_kv`: the most tokens that a row sees (at most the
// window).
int attention_splits(int64_t n_rows, int64_t n_kv_heads, int64_t longest_kv, int multiprocessors);

}  // namespace llmcore::cuda
