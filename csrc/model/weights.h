// A model's weights on a backend, bound by the names GGUF gives them. What is present decides: biases,
// q/k-norms, a tied output.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "gguf/reader.h"
#include "model/spec.h"

namespace llmcore {

struct LayerWeights {
    Weight attn_norm;
    Weight q, k, v;
    Weight q_bias, k_bias, v_bias;  // optional
    Weight q_norm, k_norm;          // optional
    Weight attn_out;
    Weight attn_out_bias;  // optional
    Weight ffn_norm;
    Weight ffn_gate, ffn_up, ffn_down;
};

struct ModelWeights {
    Weight embedding;
    Weight output_norm;
    Weight output;  // the embedding where the model ties them
    Weight inv_freq;
    std::vector<LayerWeights> layers;
    std::int64_t bytes = 0;  // of all tensors
};

// Uploads every tensor of the file. Throws Error(model) that names the tensor if one is missing, has another
// shape than the spec says, or is not part of a supported model.
ModelWeights upload_weights(const gguf::File& file, const ModelSpec& spec, Backend& backend);

}  // namespace llmcore
