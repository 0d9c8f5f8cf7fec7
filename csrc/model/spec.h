// A model as data: numbers from the file's metadata, style from the architecture's row (architectures.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "gguf/reader.h"
#include "kernels/kernel.h"
#include "model/pooling.h"
#include "model/rope.h"

namespace llmcore {

struct LayerSpec {
    std::int64_t n_heads = 0;
    std::int64_t n_kv_heads = 0;
    std::int64_t d_ff = 0;    // of a dense feed-forward network; 0 where the file has experts only
    std::int64_t window = 0;  // 0: the layer sees everything
    bool turns = true;        // whether it has RoPE, where the model has
};

// A mixture of experts; n == 0: there is none.
struct ExpertSpec {
    std::int64_t n = 0;
    std::int64_t n_used = 0;       // experts a token goes to
    std::int64_t d_ff = 0;         // 0: as dense layers
    std::int64_t d_ff_shared = 0;  // 0: no expert is shared by all tokens
    bool normalized = false;       // weights of the chosen ones sum to 1
    float scale = 1.0F;            // then multiplied by this
};

struct ModelSpec {
    std::string architecture;
    std::string name;  // general.name, or empty
    std::int64_t n_vocab = 0;
    std::int64_t n_ctx_train = 0;
    std::int64_t d_model = 0;
    std::int64_t head_dim = 0;
    std::vector<LayerSpec> layers;
    ExpertSpec experts;

    bool causal = true;  // false: every token sees the whole text, and none is generated
    bool has_head = true;
    Pooling pooling = Pooling::mean;  // where a text is to become a vector

    NormStyle norm_style = NormStyle::rms;
    bool norms_sums = false;  // see Architecture
    bool norms_outputs = false;
    bool norms_all_heads = false;
    bool has_positions = false;
    bool is_gated = true;
    bool has_biases = false;
    float norm_eps = 0.0F;       // of the norms of hidden states
    float head_norm_eps = 0.0F;  // of those of queries and keys
    float attention_scale = 0.0F;
    float attention_softcap = 0.0F;  // 0: none
    float logit_softcap = 0.0F;      // 0: none
    float embedding_scale = 1.0F;
    float output_norm_scale = 1.0F;  // the weights of the last norm are multiplied by it
    Activation activation = Activation::none;

    // Tensors without which the model would be another: a norm of each head's queries and keys, norms after
    // both blocks, attention sinks.
    bool has_head_norms = false;
    bool has_post_norms = false;
    bool has_sinks = false;

    RopeStyle rope_style = RopeStyle::none;
    std::int64_t rope_dims = 0;
    RopeSpec rope;
    RopeSpec window_rope;  // of the layers with a window; without frequencies: as the others

    std::int64_t n_kv_heads() const { return layers.front().n_kv_heads; }
    // Layers of the cache: where a text is computed at once, no layer's keys outlive it, and one serves all.
    std::int64_t n_cache_layers() const { return causal ? static_cast<std::int64_t>(layers.size()) : 1; }
};

// Reads the spec of a file, for contexts of n_ctx tokens (0: those of its training). Throws Error(model) for
// an architecture that is not in the table, naming those that are, and for numbers that contradict each other
// or ask for what is not supported.
ModelSpec read_model_spec(const gguf::File& file, std::int64_t n_ctx);

}  // namespace llmcore
