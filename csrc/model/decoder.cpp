#include "model/decoder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace llmcore {

Decoder::Decoder(const gguf::File& file, const ModelSpec& spec, std::shared_ptr<Backend> backend,
                 const DecoderLimits& limits)
    : spec_(spec),
      limits_(limits),
      backend_(std::move(backend)),
      weights_(upload_weights(file, spec_, *backend_)) {
    std::int64_t q_size = 0;
    std::int64_t d_ff = 0;
    for (const LayerSpec& layer : spec_.layers) {
        q_size = std::max(q_size, layer.n_heads * spec_.head_dim);
        d_ff = std::max(d_ff, layer.d_ff);
    }
    const std::int64_t kv_size = spec_.n_kv_heads() * spec_.head_dim;
    const std::int64_t rows = limits_.max_step_tokens;
    hidden_ = alloc(rows, spec_.d_model);
    normed_ = alloc(rows, spec_.d_model);
    q_ = alloc(rows, q_size);
    k_ = alloc(rows, kv_size);
    v_ = alloc(rows, kv_size);
    attention_ = alloc(rows, q_size);
    gated_ = alloc(rows, d_ff);
    last_ = alloc(limits_.max_logit_rows, spec_.d_model);
    last_normed_ = alloc(limits_.max_logit_rows, spec_.d_model);
    logits_ = alloc(limits_.max_logit_rows, spec_.n_vocab);
}

Buffer Decoder::alloc(std::int64_t rows, std::int64_t cols) {
    activation_bytes_ += rows * cols * static_cast<std::int64_t>(sizeof(float));
    return backend_->alloc(rows, cols);
}

void Decoder::alloc_kv(Format format, std::int64_t n_blocks) {
    backend_->alloc_kv({.format = format,
                        .n_layers = static_cast<std::int64_t>(spec_.layers.size()),
                        .n_kv_heads = spec_.n_kv_heads(),
                        .head_dim = spec_.head_dim,
                        .n_blocks = n_blocks});
}

void Decoder::check(const Batch& batch) const {
    const auto rows = static_cast<std::int64_t>(batch.tokens.size());
    if (rows < 1 || rows > limits_.max_step_tokens)
        fail(ErrorCode::invalid_argument, "decoder", "tokens in a step", std::to_string(rows),
             "1 to " + std::to_string(limits_.max_step_tokens));
    if (static_cast<std::int64_t>(batch.logit_rows.size()) > limits_.max_logit_rows)
        fail(ErrorCode::invalid_argument, "decoder", "rows of logits in a step",
             std::to_string(batch.logit_rows.size()), "at most " + std::to_string(limits_.max_logit_rows));
    for (const std::int32_t token : batch.tokens)
        if (token < 0 || token >= spec_.n_vocab)
            fail(ErrorCode::invalid_argument, "decoder", "token id", std::to_string(token),
                 "0 to " + std::to_string(spec_.n_vocab - 1));
}

void Decoder::run_layer(std::size_t index) {
    const LayerSpec& layer = spec_.layers[index];
    const LayerWeights& weights = weights_.layers[index];
    const auto layer_index = static_cast<std::int64_t>(index);
    Backend& backend = *backend_;

    backend.norm({.in = hidden_, .weight = weights.attn_norm, .out = normed_, .eps = spec_.norm_eps});
    const LinearOp qkv[] = {
        {.in = normed_, .weight = weights.q, .bias = weights.q_bias, .up = {}, .residual = {}, .out = q_},
        {.in = normed_, .weight = weights.k, .bias = weights.k_bias, .up = {}, .residual = {}, .out = k_},
        {.in = normed_, .weight = weights.v, .bias = weights.v_bias, .up = {}, .residual = {}, .out = v_},
    };
    backend.linear(qkv);
    backend.rope_store({.q = q_,
                        .k = k_,
                        .v = v_,
                        .layer = layer_index,
                        .n_heads = layer.n_heads,
                        .style = spec_.rope_style,
                        .rope_dims = spec_.rope_dims,
                        .inv_freq = weights_.inv_freq,
                        .q_norm = weights.q_norm,
                        .k_norm = weights.k_norm,
                        .norm_eps = spec_.norm_eps});
    backend.attention({.q = q_,
                       .out = attention_,
                       .layer = layer_index,
                       .n_heads = layer.n_heads,
                       .scale = spec_.attention_scale,
                       .sinks = {}});
    const LinearOp attention_out[] = {{.in = attention_,
                                       .weight = weights.attn_out,
                                       .bias = weights.attn_out_bias,
                                       .up = {},
                                       .residual = hidden_,
                                       .out = hidden_}};
    backend.linear(attention_out);

    backend.norm({.in = hidden_, .weight = weights.ffn_norm, .out = normed_, .eps = spec_.norm_eps});
    const LinearOp gate_up[] = {{.in = normed_,
                                 .weight = weights.ffn_gate,
                                 .bias = {},
                                 .up = weights.ffn_up,
                                 .residual = {},
                                 .out = gated_,
                                 .activation = spec_.activation}};
    backend.linear(gate_up);
    const LinearOp down[] = {{.in = gated_,
                              .weight = weights.ffn_down,
                              .bias = {},
                              .up = {},
                              .residual = hidden_,
                              .out = hidden_}};
    backend.linear(down);
}

void Decoder::run_layers() {
    backend_->embed({.table = weights_.embedding, .out = hidden_});
    for (std::size_t i = 0; i < spec_.layers.size(); ++i) run_layer(i);
    backend_->gather_logit_rows(hidden_, last_);
    backend_->norm({.in = last_, .weight = weights_.output_norm, .out = last_normed_, .eps = spec_.norm_eps});
}

std::span<const float> Decoder::forward(const Batch& batch) {
    check(batch);
    backend_->begin(batch);
    run_layers();
    const LinearOp head[] = {{.in = last_normed_,
                              .weight = weights_.output,
                              .bias = {},
                              .up = {},
                              .residual = {},
                              .out = logits_}};
    backend_->linear(head);
    return backend_->end(logits_);
}

std::span<const float> Decoder::hidden_states(const Batch& batch) {
    check(batch);
    backend_->begin(batch);
    run_layers();
    return backend_->end(last_normed_);
}

}  // namespace llmcore
