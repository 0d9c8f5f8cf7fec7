#include "model/decoder.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace llmcore {

Decoder::Decoder(const gguf::File& file, const ModelSpec& spec, const TensorFormats& formats,
                 std::shared_ptr<Backend> backend, const DecoderLimits& limits, const UploadWatch& watch)
    : spec_(spec),
      limits_(limits),
      backend_(std::move(backend)),
      weights_(upload_weights(file, spec_, formats, *backend_, watch)) {
    const LayerSpec& layer = spec_.layers.front();
    const std::int64_t q_size = layer.n_heads * spec_.head_dim;
    const std::int64_t kv_size = layer.n_kv_heads * spec_.head_dim;
    const std::int64_t rows = limits_.max_step_tokens;
    hidden_ = alloc(rows, spec_.d_model);
    normed_ = alloc(rows, spec_.d_model);
    q_ = alloc(rows, q_size);
    k_ = alloc(rows, kv_size);
    v_ = alloc(rows, kv_size);
    attention_ = alloc(rows, q_size);
    bool has_dense = false;
    bool has_post_norm = false;
    for (const LayerWeights& weights : weights_.layers) {
        has_dense |= static_cast<bool>(weights.ffn_down);
        has_post_norm |= weights.post_attn_norm || weights.post_ffn_norm;
    }
    if (has_dense) gated_ = alloc(rows, layer.d_ff);
    if (has_post_norm) block_out_ = alloc(rows, spec_.d_model);
    if (const ExpertSpec& experts = spec_.experts; experts.n > 0) {
        router_ = alloc(rows, experts.n);
        expert_gated_ = alloc(rows * experts.n_used, experts.d_ff > 0 ? experts.d_ff : layer.d_ff);
        expert_down_ = alloc(rows * experts.n_used, spec_.d_model);
        if (experts.d_ff_shared > 0) {
            shared_gate_ = alloc(rows, 1);
            shared_gated_ = alloc(rows, experts.d_ff_shared);
        }
    }
    last_ = alloc(limits_.max_logit_rows, spec_.d_model);
    if (!spec_.has_head) return;
    last_normed_ = alloc(limits_.max_logit_rows, spec_.d_model);
    if (spec_.causal) logits_ = alloc(limits_.max_logit_rows, spec_.n_vocab);
}

Buffer Decoder::alloc(std::int64_t rows, std::int64_t cols) {
    activation_bytes_ += rows * cols * static_cast<std::int64_t>(sizeof(float));
    return backend_->alloc(rows, cols);
}

void Decoder::alloc_kv(Format format, std::int64_t n_blocks) {
    backend_->alloc_kv({.format = format,
                        .n_layers = spec_.n_cache_layers(),
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

void Decoder::add_to_hidden(Weight norm) {
    backend_->norm(
        {.in = block_out_, .weight = norm, .out = hidden_, .eps = spec_.norm_eps, .residual = hidden_});
}

void Decoder::norm_hidden(const Norm& norm) {
    backend_->norm({.in = hidden_,
                    .weight = norm.weight,
                    .out = hidden_,
                    .eps = spec_.norm_eps,
                    .style = spec_.norm_style,
                    .bias = norm.bias});
}

void Decoder::run_attention(std::size_t index) {
    const LayerSpec& layer = spec_.layers[index];
    const LayerWeights& weights = weights_.layers[index];
    const std::int64_t layer_index = spec_.causal ? static_cast<std::int64_t>(index) : 0;
    const bool own_rope = layer.window > 0 && !spec_.window_rope.inv_freq.empty();
    Backend& backend = *backend_;

    const Buffer in = weights.attn_norm ? normed_ : hidden_;
    if (weights.attn_norm)
        backend.norm({.in = hidden_, .weight = weights.attn_norm, .out = normed_, .eps = spec_.norm_eps});
    const LinearOp qkv[] = {
        {.in = in, .weight = weights.q, .out = q_, .bias = weights.q_bias},
        {.in = in, .weight = weights.k, .out = k_, .bias = weights.k_bias},
        {.in = in, .weight = weights.v, .out = v_, .bias = weights.v_bias},
    };
    backend.linear(qkv);
    if (spec_.norms_all_heads) {
        backend.norm({.in = q_, .weight = weights.q_norm, .out = q_, .eps = spec_.head_norm_eps});
        backend.norm({.in = k_, .weight = weights.k_norm, .out = k_, .eps = spec_.head_norm_eps});
    }
    backend.rope_store({.q = q_,
                        .k = k_,
                        .v = v_,
                        .layer = layer_index,
                        .n_heads = layer.n_heads,
                        .style = layer.turns ? spec_.rope_style : RopeStyle::none,
                        .rope_dims = spec_.rope_dims,
                        .inv_freq = own_rope ? weights_.window_inv_freq : weights_.inv_freq,
                        .magnitude = own_rope ? spec_.window_rope.magnitude : spec_.rope.magnitude,
                        .q_norm = spec_.norms_all_heads ? Weight() : weights.q_norm,
                        .k_norm = spec_.norms_all_heads ? Weight() : weights.k_norm,
                        .norm_eps = spec_.head_norm_eps});
    backend.attention({.q = q_,
                       .out = attention_,
                       .layer = layer_index,
                       .n_heads = layer.n_heads,
                       .scale = spec_.attention_scale,
                       .softcap = spec_.attention_softcap,
                       .window = layer.window,
                       .sinks = weights.sinks,
                       .causal = spec_.causal});
    const bool normed_after = static_cast<bool>(weights.post_attn_norm);
    const LinearOp out[] = {{.in = attention_,
                             .weight = weights.attn_out,
                             .out = normed_after ? block_out_ : hidden_,
                             .bias = weights.attn_out_bias,
                             .residual = normed_after ? Buffer() : hidden_}};
    backend.linear(out);
    if (normed_after) add_to_hidden(weights.post_attn_norm);
    if (weights.attn_sum_norm) norm_hidden(weights.attn_sum_norm);
}

void Decoder::run_experts(const ExpertWeights& weights, Buffer residual, Buffer out) {
    const LinearOp router[] = {
        {.in = normed_, .weight = weights.router, .out = router_, .bias = weights.router_bias}};
    backend_->linear(router);
    backend_->moe({.in = normed_,
                   .router = router_,
                   .gate = weights.gate,
                   .up = weights.up,
                   .down = weights.down,
                   .gate_bias = weights.gate_bias,
                   .up_bias = weights.up_bias,
                   .down_bias = weights.down_bias,
                   .gated = expert_gated_,
                   .down_rows = expert_down_,
                   .residual = residual,
                   .out = out,
                   .n_used = spec_.experts.n_used,
                   .normalized = spec_.experts.normalized,
                   .scale = spec_.experts.scale,
                   .activation = spec_.activation});
    if (!weights.shared_down) return;
    if (weights.shared_router) {
        const LinearOp gate[] = {{.in = normed_, .weight = weights.shared_router, .out = shared_gate_}};
        backend_->linear(gate);
    }
    const LinearOp gate_up[] = {{.in = normed_,
                                 .weight = weights.shared_gate,
                                 .out = shared_gated_,
                                 .up = weights.shared_up,
                                 .activation = spec_.activation}};
    backend_->linear(gate_up);
    const LinearOp down[] = {{.in = shared_gated_,
                              .weight = weights.shared_down,
                              .out = out,
                              .residual = out,
                              .gate = weights.shared_router ? shared_gate_ : Buffer()}};
    backend_->linear(down);
}

void Decoder::run_feed_forward(const LayerWeights& weights) {
    const bool normed_after = static_cast<bool>(weights.post_ffn_norm);
    const Buffer out = normed_after ? block_out_ : hidden_;
    const Buffer residual = normed_after ? Buffer() : hidden_;
    const Buffer in = weights.ffn_norm ? normed_ : hidden_;
    if (weights.ffn_norm)
        backend_->norm({.in = hidden_, .weight = weights.ffn_norm, .out = normed_, .eps = spec_.norm_eps});
    if (weights.ffn_down) {
        const LinearOp gate_up[] = {{.in = in,
                                     .weight = weights.ffn_gate,
                                     .out = gated_,
                                     .bias = weights.ffn_gate_bias,
                                     .up = weights.ffn_up,
                                     .up_bias = weights.ffn_up_bias,
                                     .activation = spec_.activation}};
        backend_->linear(gate_up);
        const LinearOp down[] = {{.in = gated_,
                                  .weight = weights.ffn_down,
                                  .out = out,
                                  .bias = weights.ffn_down_bias,
                                  .residual = residual}};
        backend_->linear(down);
    } else {
        run_experts(weights.experts, residual, out);
    }
    if (normed_after) add_to_hidden(weights.post_ffn_norm);
    if (weights.ffn_sum_norm) norm_hidden(weights.ffn_sum_norm);
}

void Decoder::run_layers() {
    backend_->embed({.table = weights_.embedding,
                     .out = hidden_,
                     .scale = spec_.embedding_scale,
                     .positions = weights_.positions,
                     .types = weights_.types});
    if (weights_.embedding_norm) norm_hidden(weights_.embedding_norm);
    for (std::size_t i = 0; i < spec_.layers.size(); ++i) {
        run_attention(i);
        run_feed_forward(weights_.layers[i]);
    }
    backend_->gather_logit_rows(hidden_, last_);
    if (spec_.has_head)
        backend_->norm(
            {.in = last_, .weight = weights_.output_norm, .out = last_normed_, .eps = spec_.norm_eps});
}

std::span<const float> Decoder::forward(const Batch& batch) {
    if (!logits_) fail(ErrorCode::invalid_argument, "decoder", "the model makes vectors of texts, no logits");
    check(batch);
    backend_->begin(batch);
    run_layers();
    const LinearOp head[] = {{.in = last_normed_,
                              .weight = weights_.output,
                              .out = logits_,
                              .bias = weights_.output_bias,
                              .softcap = spec_.logit_softcap}};
    backend_->linear(head);
    return backend_->end(logits_);
}

std::span<const float> Decoder::hidden_states(const Batch& batch) {
    check(batch);
    backend_->begin(batch);
    run_layers();
    return backend_->end(spec_.has_head ? last_normed_ : last_);
}

}  // namespace llmcore
