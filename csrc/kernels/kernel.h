// What a kernel is: one POD descriptor, defined in one file, found by its file's name.
//
// Kernel files are compiled with the flags of their instruction set, so everything they include is POD or
// lives in an anonymous namespace: an inline function shared with a baseline file could otherwise survive as
// its AVX-512 copy.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "quant/formats.h"

namespace llmcore {

enum class Op : uint8_t {
    linear,
    pack,
    norm,
    rope,
    kv_store,
    attention,
    glu,
    peak,
    layer_norm,
    row_max,
    exp_sum
};

// How the bytes of an operand are arranged.
enum class Layout : uint8_t {
    none,
    f32,       // float rows
    gguf,      // weight rows exactly as the file has them
    q8_32,     // activations as int8, a scale per 32 (kernels/activation_layout.h)
    bf16_x32,  // activations as bf16, 32 rows interleaved (kernels/activation_layout.h)
};

// What a kernel is asked whether it supports, and at what cost. Fields an op does not use are 0.
struct Shape {
    int64_t m = 0;         // activation rows (tokens)
    int64_t n = 0;         // weight rows (output features); norms, glu: the row's length
    int64_t k = 0;         // columns (input features); pack: the row's length
    int64_t head_dim = 0;  // rope, kv_store, attention
    int64_t n_heads = 0;
    int64_t n_kv_heads = 0;
    // linear: activation rows are picked one by one from packed ones, which must not be interleaved.
    bool gathered = false;
};

struct Args {};

// out[i][j] = sum over c of act[i][c] * weight[j][c], for i < m and row_begin <= j < row_end (weight rows).
struct LinearArgs : Args {
    const void* weight;        // n rows in Kernel::weight_layout
    int64_t weight_row_bytes;  // distance between weight rows
    const void* act;           // m rows in Kernel::act_layout
    int64_t act_row_bytes;     // distance between activation rows
    float* out;                // out[i * out_stride + j - out_offset]
    int64_t out_stride;
    int64_t out_offset;  // the weight row that column 0 of out belongs to
    int64_t m, n, k;
};

// Converts float rows [row_begin, row_end) to Kernel::out_layout. k is the row's length.
struct PackArgs : Args {
    const float* x;
    int64_t x_stride;  // floats between rows
    void* out;
    int64_t out_row_bytes;
    int64_t k;
};

// out = x / sqrt(mean(x^2) + eps) * weight + residual, row by row (RMSNorm, Zhang and Sennrich 2019).
struct NormArgs : Args {
    const float* x;
    int64_t x_stride;
    const float* weight;
    const float* residual;  // null, or rows as far apart as out's; may be out
    float* out;
    int64_t out_stride;
    int64_t n;
    float eps;
};

// out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, row by row (Ba, Kiros and Hinton 2016).
struct LayerNormArgs : Args {
    const float* x;
    int64_t x_stride;
    const float* weight;
    const float* bias;  // null: none
    float* out;         // may be x
    int64_t out_stride;
    int64_t n;
    float eps;
};

enum class RopeStyle : uint8_t {
    none,
    adjacent,  // rotates the pairs (2i, 2i+1): GGUF's order for llama
    halves,    // rotates the pairs (i, i + dims/2): NeoX, qwen2
};

// Rotates each head of rows [row_begin, row_end) in place by position * inv_freq[i] (Su et al. 2021).
struct RopeArgs : Args {
    float* x;
    int64_t x_stride;
    const int32_t* positions;  // one a row
    const float* inv_freq;     // rope_dims / 2
    float magnitude;           // multiplies cos and sin (1 except for scaled contexts)
    int64_t n_heads;
    int64_t head_dim;
    int64_t rope_dims;  // the first rope_dims of a head turn, the rest stay
    RopeStyle style;
};

// One layer's paged cache: keys, then values, of one block at
//   base + block * block_bytes + (is_value * n_kv_heads + kv_head) * head_block_bytes, tokens in order,
//   head_dim each.
struct KvView {
    void* base;
    int64_t block_bytes;
    int64_t head_block_bytes;
    int64_t block_tokens;
    int64_t n_kv_heads;
    int64_t head_dim;
};

// Writes rows [row_begin, row_end) of k and v into the cache at slots[row] = block * block_tokens + offset.
struct KvStoreArgs : Args {
    const float* k;  // n_kv_heads * head_dim a row
    const float* v;
    int64_t k_stride;
    int64_t v_stride;
    const int64_t* slots;
    KvView kv;
};

// softmax(scale * q k^T) v for the work items [row_begin, row_end) of n_tokens * n_kv_heads;
// item = kv_head * n_tokens + token, so that a range holds consecutive tokens that read the same keys.
struct AttentionArgs : Args {
    const float* q;  // n_heads * head_dim a token
    int64_t q_stride;
    float* out;
    int64_t out_stride;
    KvView kv;
    const int32_t* block_table;  // [sequence][block_table_stride]
    int64_t block_table_stride;
    const int32_t* token_sequence;  // the sequence of each token
    const int32_t* positions;       // token t sees the cached positions 0 .. positions[t]
    int64_t n_tokens;
    int64_t n_heads;
    float scale;
    float softcap;           // 0: none; otherwise scores become softcap * tanh(score / softcap)
    int64_t window;          // 0: none; otherwise only the last `window` positions are seen
    const float* sinks;      // null, or one logit a head that joins the softmax's denominator
    bool causal;             // false: every token sees the whole cached sequence
    const int32_t* kv_lens;  // cached tokens of each sequence
};

enum class Activation : uint8_t {
    none,
    silu,
    gelu_tanh,
    gelu_erf,
    relu,
    tanh,
    // gpt-oss: g = min(gate, 7), u = clamp(up, -7, 7): g * sigmoid(1.702 g) * (u + 1)
    swiglu_clamped,
};

// out = activation(gate) * up, rows [row_begin, row_end); up may be null: out = activation(gate).
struct GluArgs : Args {
    const float* gate;
    int64_t gate_stride;
    const float* up;
    int64_t up_stride;
    float* out;
    int64_t out_stride;
    int64_t n;
    Activation activation;
};

// Work that measures a limit of the machine (kernels/peak.h), rows [row_begin, row_end).
struct PeakArgs : Args {
    const char* data;  // peak_read: kPeakReadBytes a row, at a multiple of 64; otherwise null
    float* out;        // a row's result: the sum of its words, or of its lanes
};

// Sampling: a long row of n floats in blocks of kRowBlock, the last one perhaps shorter; rows
// [row_begin, row_end) are blocks, each with one result.
// row_max: the block's largest value, or NaN if one is NaN or +infinity.
// exp_sum: the sum of exp((x - max) * scale) over x >= least, where no x exceeds max; terms below 2^-126 may
// count as 0.
constexpr int64_t kRowBlock = 64;
struct RowBlocksArgs : Args {
    const float* x;
    int64_t n;
    float* out;
    // exp_sum:
    float max, scale, least;
    const float* block_max;  // null, or what row_max gave: spares blocks without an x >= least
};

struct Kernel {
    const char* name;  // the file's name without its ending
    Op op;
    Format weight_format;  // linear: the weight's; kv_store, attention: the cache's; otherwise Format::none
    Layout weight_layout;
    Layout act_layout;
    Layout out_layout;
    Isa isa;
    bool (*supports)(const Shape* shape);
    // Expected nanoseconds of one thread for the shape, good enough to rank kernels of one op.
    double (*cost)(const Shape* shape);
    size_t (*workspace_bytes)(const Shape* shape);  // per thread; null: none
    void (*run)(const Args* args, int64_t row_begin, int64_t row_end, void* workspace);
};

}  // namespace llmcore
