// What is done to rows of floats between matrix products.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"

namespace llmcore::cuda {

constexpr int kLongestNormRow = 32768;

// out = x / sqrt(mean(x^2) + eps) * weight + residual, row by row. out may be x.
struct NormRowsArgs {
    const float* x;
    int64_t x_stride;
    const float* weight;
    const float* residual;  // null, or rows out_stride apart; may be out
    float* out;
    int64_t out_stride;
    int32_t m;
    int32_t n;
    float eps;
};
void norm_rows(const Stream& stream, const NormRowsArgs& args);

// Rows of k floats as the bf16 input of matmul_bf16: row i of out has the tiles_of(k, 256) * 256 bits of row
// source_rows[i] of x in the order of permuted_column(), 0 beyond k (NaN where the
// norm makes the whole row NaN).
struct PackRowsArgs {
    const float* x;
    int64_t x_stride;
    const float* norm_weight;    // null, or the row is normalized first as in norm_rows
    const int32_t* source_rows;  // null: row i
    const int32_t* live_rows;    // null, or where the number of rows to do is, at most m
    uint16_t* out;               // aligned to 16 bytes
    int32_t m;
    int32_t k;
    float norm_eps;
};
void pack_bf16_rows(const Stream& stream, const PackRowsArgs& args);

// out[i] = in[rows[i]] + added[i].
struct GatherRowsArgs {
    const float* in;
    int64_t in_stride;
    const int32_t* rows;  // null: row i
    const float* added;   // null, or rows out_stride apart; may be out
    float* out;
    int64_t out_stride;
    int32_t m;
    int32_t n;
};
void gather_rows(const Stream& stream, const GatherRowsArgs& args);

// out[i] = the index of the largest value of row i, the first of equals; NaN is never the largest, and a row
// of nothing else gives 0.
struct ArgmaxRowsArgs {
    const float* values;
    int64_t stride;
    int32_t m;
    int32_t n;
    int32_t* out;
    void* workspace;  // argmax_workspace_bytes(rows of the largest call), filled with 0 before the first call
};
std::size_t argmax_workspace_bytes(int64_t m);
void argmax_rows(const Stream& stream, const ArgmaxRowsArgs& args);

}  // namespace llmcore::cuda
