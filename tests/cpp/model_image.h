// The file of a small random model: llama's parts, and what other architectures have besides.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gguf/reader.h"
#include "gguf_image.h"
#include "harness.h"
#include "quant/format_table.h"
#include "random_weights.h"

namespace llmcore::test {

struct Model {
    std::string architecture;
    std::int64_t d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff, n_vocab;
    Format format;
    bool has_bias = false;
    bool has_output = true;
    std::int64_t n_experts = 0;   // of which a token goes to two
    bool has_post_norms = false;  // a norm after each block
};

inline std::vector<std::uint8_t> vector_of(std::int64_t n, float middle, Random& random) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(n) * sizeof(float));
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        const float value = middle + 0.1F * random.normal();
        std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
    }
    return bytes;
}

// Random values that keep activations near 1.
inline std::vector<std::uint8_t> matrix_of(Format format, std::int64_t rows, std::int64_t cols,
                                           Random& random) {
    std::vector<std::uint8_t> bytes = random_weights(format, rows, cols, random);
    const float spread = 1.0F / std::sqrt(static_cast<float>(cols));
    if (format == Format::Q8_0) {
        const std::uint16_t scale = float_to_half(spread / 73.0F);
        for (std::size_t block = 0; block < bytes.size(); block += 34)
            std::memcpy(bytes.data() + block, &scale, sizeof scale);
    }
    for (std::size_t i = 0; format == Format::F32 && i < bytes.size(); i += sizeof(float)) {
        float value = 0.0F;
        std::memcpy(&value, bytes.data() + i, sizeof value);
        value *= spread;
        std::memcpy(bytes.data() + i, &value, sizeof value);
    }
    for (std::size_t i = 0; format == Format::F16 && i < bytes.size(); i += 2) {
        const std::uint16_t value = float_to_half(spread * random.normal());
        std::memcpy(bytes.data() + i, &value, sizeof value);
    }
    return bytes;
}

class ModelImage {
public:
    explicit ModelImage(const Model& model) : model_(model), random_(11) {
        const auto key = [&](const char* name) { return model.architecture + "." + name; };
        const auto number = [&](const char* name, std::int64_t value) {
            image_.scalar(key(name), gguf::ValueType::i64, value);
        };
        image_.string("general.architecture", model.architecture);
        number("embedding_length", model.d_model);
        number("context_length", 256);
        number("block_count", model.n_layers);
        number("attention.head_count", model.n_heads);
        number("attention.head_count_kv", model.n_kv_heads);
        number("attention.key_length", model.head_dim);
        number("attention.value_length", model.head_dim);
        number("feed_forward_length", model.d_ff);
        if (model.n_experts > 0) {
            number("expert_count", model.n_experts);
            number("expert_used_count", 2);
        }
        matrix("token_embd.weight", model.n_vocab, model.d_model);
        vector("output_norm.weight", model.d_model, 1.0F);
        if (model.has_output) matrix("output.weight", model.n_vocab, model.d_model);
        for (std::int64_t layer = 0; layer < model.n_layers; ++layer)
            add_layer("blk." + std::to_string(layer) + ".");
    }

    ModelImage& vector(const std::string& name, std::int64_t size, float middle) {
        image_.tensor(name, {static_cast<std::uint64_t>(size)}, Format::F32,
                      vector_of(size, middle, random_));
        return *this;
    }

    ModelImage& matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
        image_.tensor(name, {static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows)},
                      model_.format, matrix_of(model_.format, rows, cols, random_));
        return *this;
    }

    // One matrix an expert.
    ModelImage& matrices(const std::string& name, std::int64_t rows, std::int64_t cols) {
        image_.tensor(name,
                      {static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows),
                       static_cast<std::uint64_t>(model_.n_experts)},
                      model_.format, matrix_of(model_.format, model_.n_experts * rows, cols, random_));
        return *this;
    }

    gguf::File open() const { return gguf::File::from_bytes(image_.build()); }
    std::vector<std::byte> bytes() const { return image_.build(); }

private:
    void add_layer(const std::string& prefix) {
        const std::int64_t q_size = model_.n_heads * model_.head_dim;
        const std::int64_t kv_size = model_.n_kv_heads * model_.head_dim;
        vector(prefix + "attn_norm.weight", model_.d_model, 1.0F);
        for (const auto& [name, rows] : {std::pair<const char*, std::int64_t>{"attn_q", q_size},
                                         {"attn_k", kv_size},
                                         {"attn_v", kv_size}}) {
            matrix(prefix + name + ".weight", rows, model_.d_model);
            if (model_.has_bias) vector(prefix + name + ".bias", rows, 0.0F);
        }
        matrix(prefix + "attn_output.weight", model_.d_model, q_size);
        vector(prefix + "ffn_norm.weight", model_.d_model, 1.0F);
        if (model_.has_post_norms) {
            vector(prefix + "post_attention_norm.weight", model_.d_model, 1.0F);
            vector(prefix + "post_ffw_norm.weight", model_.d_model, 1.0F);
        }
        if (model_.n_experts > 0) {
            matrix(prefix + "ffn_gate_inp.weight", model_.n_experts, model_.d_model);
            matrices(prefix + "ffn_gate_exps.weight", model_.d_ff, model_.d_model);
            matrices(prefix + "ffn_up_exps.weight", model_.d_ff, model_.d_model);
            matrices(prefix + "ffn_down_exps.weight", model_.d_model, model_.d_ff);
            return;
        }
        matrix(prefix + "ffn_gate.weight", model_.d_ff, model_.d_model);
        matrix(prefix + "ffn_up.weight", model_.d_ff, model_.d_model);
        matrix(prefix + "ffn_down.weight", model_.d_model, model_.d_ff);
    }

    Model model_;
    Random random_;
    GgufImage image_;
};

}  // namespace llmcore::test
