// A model's weights on a backend, bound by the names GGUF gives them. What is present decides: biases,
// q/k-norms, norms after a block, fused matrices, experts, a tied output.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "gguf/reader.h"
#include "model/spec.h"

namespace llmcore {

struct Norm {
    Weight weight;
    Weight bias;  // of LayerNorm
    explicit operator bool() const { return static_cast<bool>(weight); }
};

// Matrices that lie below one another, one an expert.
struct ExpertWeights {
    Weight router;
    Weight router_bias;  // optional
    Weight gate, up, down;
    Weight gate_bias, up_bias, down_bias;  // optional
    Weight shared_router;                  // optional: a sigmoid weighs the shared expert
    Weight shared_gate, shared_up, shared_down;
};

struct LayerWeights {
    Weight attn_norm;  // absent where norms come after sums or blocks
    Weight q, k, v;
    Weight q_bias, k_bias, v_bias;  // optional
    Weight q_norm, k_norm;          // optional: of each head, or of all together
    Weight sinks;                   // optional
    Weight attn_out;
    Weight attn_out_bias;                              // optional
    Weight post_attn_norm;                             // optional
    Norm attn_sum_norm;                                // optional: of the sum of attention and its input
    Weight ffn_norm;                                   // as attn_norm
    Weight ffn_gate, ffn_up, ffn_down;                 // of a dense layer; without a gate, ffn_up is empty
    Weight ffn_gate_bias, ffn_up_bias, ffn_down_bias;  // optional
    ExpertWeights experts;                             // of a layer without these
    Weight post_ffn_norm;                              // optional
    Norm ffn_sum_norm;                                 // optional
};

// A matrix of the file as it lies on the backend: whole, or taken apart by rows.
struct PlacedMatrix {
    struct Part {
        Weight weight;
        std::int64_t first = 0;  // row of the file's matrix
        std::int64_t rows = 0;
    };
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    std::vector<Part> parts;
};

struct ModelWeights {
    Weight embedding;
    Weight positions, types;  // optional: what is added to it
    Norm embedding_norm;      // optional
    Weight output_norm;       // of a model with a head
    Weight output;            // the same; the embedding where the model ties them
    Weight output_bias;       // optional
    Weight inv_freq;          // of a model with RoPE
    Weight window_inv_freq;   // as inv_freq where layers do not differ
    std::vector<LayerWeights> layers;
    std::map<std::string, PlacedMatrix, std::less<>> matrices;  // by the tensor's name; none of experts
    std::int64_t bytes = 0;                                     // of all tensors
};

// Formats that tensors are converted to as they are uploaded, by their names.
using TensorFormats = std::map<std::string, Format, std::less<>>;

// Called before each matrix is uploaded; what it throws ends the upload.
using UploadWatch = std::function<void()>;

// Uploads every tensor of the file. Throws Error(model) that names the tensor if one is missing, has another
// shape than the spec says, or is not part of a supported model.
ModelWeights upload_weights(const gguf::File& file, const ModelSpec& spec, const TensorFormats& formats,
                            Backend& backend, const UploadWatch& watch);

}  // namespace llmcore
