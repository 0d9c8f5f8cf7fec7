// Which experts of a mixture a row goes to, and the sum of what they give.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"

namespace llmcore::cuda {

constexpr int kMostExperts = 512;
constexpr int kMostUsedExperts = 32;

// Per row the n_used experts of the largest logits, the first of equals first, and the weights of their
// softmax; then the (row, place) pairs sorted by expert, those of an expert by row. A slot is a pair's
// position in that order.
struct RouteArgs {
    const float* logits;
    int64_t logits_stride;
    int32_t rows;
    int32_t n_experts;
    int32_t n_used;
    bool normalized;        // the weights of a row sum to 1
    float scale;            // then multiplied by this
    int32_t* experts;       // [rows][n_used]
    float* weights;         // [rows][n_used]
    int32_t* slots;         // [rows][n_used]
    int32_t* slot_rows;     // [rows * n_used]: the row of a slot
    int32_t* expert_begin;  // [n_experts + 1]: the first slot of an expert
    uint32_t* arrived;      // one word, 0 before the first call
};
void route(const Stream& stream, const RouteArgs& args);

// out = residual + the sum over places of weights * down_rows[slots].
struct CombineArgs {
    const float* down_rows;
    int64_t down_stride;
    const float* weights;   // [rows][n_used]
    const int32_t* slots;   // [rows][n_used]
    const float* residual;  // null, or rows out_stride apart; may be out
    float* out;
    int64_t out_stride;
    int32_t rows;
    int32_t n_used;
    int32_t width;
};
void combine_experts(const Stream& stream, const CombineArgs& args);

}  // namespace llmcore::cuda
