// What the kernels of a step share: the batch on the device, and where the cache lies. POD.
#pragma once

#include <stdint.h>

#include "quant/formats.h"

namespace llmcore::cuda {

// Device pointers; see backend/batch.h. A row is a token of the step.
struct StepView {
    const int32_t* tokens;         // [n_rows]
    const int32_t* positions;      // [n_rows]
    const int32_t* row_sequences;  // [n_rows]
    const int32_t* kv_lens;        // [n_sequences]
    const int32_t* block_table;    // [n_sequences][block_table_stride]
    const int32_t* logit_rows;     // [n_logit_rows]
    int32_t block_table_stride;
    int32_t n_rows;
    int32_t n_sequences;
    int32_t n_logit_rows;
};

constexpr int kKvBlockTokens = 32;

// One layer's paged cache: element [block][is_value][kv_head][token in block][head_dim] of F16 or F32,
// tightly packed. In Q8_0 a head's tokens of a block take as many bytes as in GGUF, in an order of their own
// (kernels/kv_q8.h).
struct KvLayer {
    void* base;
    Format format;
    int32_t n_kv_heads;
    int32_t head_dim;
};

}  // namespace llmcore::cuda
