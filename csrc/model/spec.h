// A model as data: numbers from the file's metadata, style from the architecture's row (architectures.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "kernels/kernel.h"

namespace llmcore {

struct LayerSpec {
    std::int64_t n_heads = 0;
    std::int64_t n_kv_heads = 0;
    std::int64_t d_ff = 0;
};

struct ModelSpec {
    std::string architecture;
    std::string name;  // general.name, or empty
    std::int64_t n_vocab = 0;
    std::int64_t n_ctx_train = 0;
    std::int64_t d_model = 0;
    std::int64_t head_dim = 0;
    std::vector<LayerSpec> layers;

    float norm_eps = 0.0F;
    float attention_scale = 0.0F;
    Activation activation = Activation::none;
    RopeStyle rope_style = RopeStyle::none;
    std::int64_t rope_dims = 0;
    std::vector<float> inv_freq;  // rope_dims / 2: radians a position

    std::int64_t n_kv_heads() const { return layers.front().n_kv_heads; }
};

// Reads the spec of a file. Throws Error(model) for an architecture that is not in the table, naming those
// that are, and for numbers that contradict each other or ask for what is not supported.
ModelSpec read_model_spec(const gguf::File& file);

}  // namespace llmcore
