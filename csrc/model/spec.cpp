#include "model/spec.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "gguf/printable.h"
#include "model/architectures.h"
#include "model/metadata.h"

namespace llmcore {

namespace {

constexpr const char* kComponent = "model";
constexpr std::int64_t kMaxHeadDim = 1024;
constexpr std::int64_t kMaxHeads = 1 << 16;
constexpr std::int64_t kMaxLayers = 1024;  // each costs pages, however small its tensors
constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
constexpr std::int64_t kMaxFeedForward = std::int64_t{1} << 30;
constexpr std::int64_t kMaxExperts = 1024;

const Architecture& find_architecture(const std::string& name) {
    std::string known;
    for (const Architecture& candidate : architectures()) {
        if (candidate.name == name) return candidate;
        known.append(known.empty() ? "" : ", ").append(candidate.name);
    }
    fail(ErrorCode::model, kComponent, "unsupported architecture", gguf::printable(name), "one of " + known);
}

// Numbers that would change what the model computes, and that no part of the decoder reads.
void refuse_unread(const Metadata& metadata, const Architecture& architecture) {
    for (const std::string_view key : {"logit_scale", "residual_scale", "embedding_scale"})
        if (!architecture.has_scales && metadata.positive(key, 1.0) != 1.0)
            fail(ErrorCode::model, kComponent, "unsupported: " + metadata.full(key));
    for (const std::string_view key : {"rope.scaling.yarn_log_multiplier", "attention.temperature_scale"})
        if (!architecture.heats_far_queries && metadata.not_negative(key, 0.0) != 0.0)
            fail(ErrorCode::model, kComponent, "unsupported: " + metadata.full(key));
    if (metadata.flag("use_parallel_residual", false))
        fail(ErrorCode::model, kComponent, "unsupported: " + metadata.full("use_parallel_residual"));
    // Groups of experts and gates other than softmax belong to architectures that are not in the table.
    if (metadata.optional_size("expert_group_count", kMaxExperts) > 1)
        fail(ErrorCode::model, kComponent, "unsupported: " + metadata.full("expert_group_count"));
    constexpr std::int64_t kSoftmax = 1;
    if (const std::int64_t gate = metadata.optional_size("expert_gating_func", 1 << 10);
        gate != 0 && gate != kSoftmax)
        fail(ErrorCode::model, kComponent, "unsupported " + metadata.full("expert_gating_func"),
             std::to_string(gate), "softmax, 1");
}

// Which direction a text is read in, and what it becomes.
void read_purpose(const Metadata& metadata, const Architecture& architecture, ModelSpec& spec) {
    spec.has_head = !architecture.encodes;
    spec.causal = metadata.flag("attention.causal", !architecture.encodes);
    if (spec.causal && architecture.encodes)
        fail(ErrorCode::model, kComponent, "unsupported: " + metadata.full("attention.causal"), "true",
             "false, for an encoder");
    // The values of GGUF's writers: none, mean, first token, last token, rank.
    constexpr std::array<Pooling, 4> kPoolings = {Pooling::mean, Pooling::mean, Pooling::cls, Pooling::last};
    const auto pooling = static_cast<std::size_t>(metadata.optional_size("pooling_type", 1 << 10));
    if (pooling >= kPoolings.size())
        fail(ErrorCode::model, kComponent, "unsupported " + metadata.full("pooling_type"),
             std::to_string(pooling), "0 to 3: none, mean, first or last token; rerankers are not supported");
    spec.pooling = kPoolings[pooling];
}

double read_norm_eps(const Metadata& metadata, const Architecture& architecture) {
    const std::string_view key = architecture.norm_style == NormStyle::layer
                                     ? "attention.layer_norm_epsilon"
                                     : "attention.layer_norm_rms_epsilon";
    const double eps = metadata.not_negative(key, 1e-5);
    if (eps >= 1.0)
        fail(ErrorCode::model, kComponent, "value of " + metadata.full(key), std::to_string(eps), "0 to 1");
    return eps;
}

void read_rotation(const Metadata& metadata, const Architecture& architecture, std::int64_t n_ctx,
                   ModelSpec& spec) {
    spec.rope_style = architecture.rope_style;
    if (architecture.may_be_unturned && !metadata.flag("rope.scaling.finetuned", true))
        spec.rope_style = RopeStyle::none;
    if (spec.rope_style == RopeStyle::none) return;
    spec.rope_dims = metadata.size("rope.dimension_count", spec.head_dim, spec.head_dim);
    if (spec.rope_dims % 2 != 0)
        fail(ErrorCode::model, kComponent, "value of " + metadata.full("rope.dimension_count"),
             std::to_string(spec.rope_dims), "an even number");
    if (metadata.has("rope.dimension_sections") && !architecture.has_rope_sections)
        fail(ErrorCode::model, kComponent, "unsupported: " + metadata.full("rope.dimension_sections"));
    spec.rope = read_rope(metadata, architecture, spec.rope_dims, spec.n_ctx_train,
                          n_ctx > 0 ? n_ctx : spec.n_ctx_train);
    constexpr std::string_view kWindowBase = "rope.freq_base_swa";
    if (metadata.has(kWindowBase) || architecture.window_rope_base > 0.0)
        spec.window_rope = plain_rope(metadata, kWindowBase, architecture.window_rope_base, spec.rope_dims);
    else if (architecture.unscales_windows)
        spec.window_rope = plain_rope(metadata, "rope.freq_base", 10000.0, spec.rope_dims);
    const bool has_windows =
        std::any_of(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& l) { return l.window > 0; });
    const std::int64_t period = architecture.unturned_period;
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        LayerSpec& layer = spec.layers[i];
        if (period > 0) layer.turns = (static_cast<std::int64_t>(i) + 1) % period != 0;
        if (architecture.turns_windows && has_windows) layer.turns = layer.window > 0;
    }
}

// Hidden states are kept divided by the factor r of the blocks' outputs, which costs no operation: a norm of
// them is the same with its epsilon divided by r * r. The divisor of the logits goes into the last norm's
// weights.
void read_scales(const Metadata& metadata, ModelSpec& spec) {
    const double residual = metadata.positive("residual_scale", 1.0);
    const auto checked = [&](double value, std::string_view key) {
        const auto single = static_cast<float>(value);
        if (!(single > 0.0F && single <= std::numeric_limits<float>::max()))
            fail(ErrorCode::model, kComponent,
                 metadata.full(key) + " with " + metadata.full("residual_scale"), std::to_string(value),
                 "a positive float");
        return single;
    };
    spec.embedding_scale = checked(metadata.positive("embedding_scale", 1.0) / residual, "embedding_scale");
    spec.norm_eps = checked(static_cast<double>(spec.norm_eps) / (residual * residual), "residual_scale");
    spec.output_norm_scale = checked(1.0 / metadata.positive("logit_scale", 1.0), "logit_scale");
}

// Which layers see a window only: the file's own list or period, otherwise the architecture's.
void read_windows(const Metadata& metadata, const Architecture& architecture, ModelSpec& spec) {
    const std::int64_t window = metadata.optional_size("attention.sliding_window", kMaxContext);
    if (window == 0) return;
    constexpr std::string_view kPattern = "attention.sliding_window_pattern";
    const gguf::Value* pattern = metadata.file().find(metadata.full(kPattern));
    if (pattern != nullptr && pattern->is_array()) {
        const auto flags = pattern->as_ints().value_or(std::vector<std::int64_t>());
        if (flags.size() != spec.layers.size())
            fail(ErrorCode::model, kComponent, "length of " + metadata.full(kPattern),
                 std::to_string(flags.size()), "one flag a layer, " + std::to_string(spec.layers.size()));
        for (std::size_t i = 0; i < flags.size(); ++i) spec.layers[i].window = flags[i] != 0 ? window : 0;
        return;
    }
    const std::int64_t period =
        pattern != nullptr ? metadata.optional_size(kPattern, kMaxLayers) : architecture.window_period;
    for (std::size_t i = 0; i < spec.layers.size(); ++i)
        if (period == 0 || (static_cast<std::int64_t>(i) + 1) % period != 0) spec.layers[i].window = window;
}

void read_layers(const Metadata& metadata, const Architecture& architecture, std::int64_t n_layers,
                 ModelSpec& spec) {
    const auto heads = metadata.per_layer("attention.head_count", n_layers, 0, kMaxHeads);
    const auto kv_heads = metadata.per_layer("attention.head_count_kv", n_layers, heads.front(), kMaxHeads);
    std::vector<std::int64_t> ff(heads.size(), 0);
    if (spec.experts.d_ff == 0 || metadata.has("feed_forward_length"))
        ff = metadata.per_layer("feed_forward_length", n_layers, 0, kMaxFeedForward);
    for (std::size_t i = 0; i < heads.size(); ++i) {
        if (heads[i] % kv_heads[i] != 0)
            fail(ErrorCode::model, kComponent, "heads are no multiple of key-value heads",
                 std::to_string(heads[i]) + " and " + std::to_string(kv_heads[i]), "whole groups");
        if (heads[i] != heads.front() || kv_heads[i] != kv_heads.front() || ff[i] != ff.front())
            fail(ErrorCode::model, kComponent, "unsupported: layers of different widths");
        spec.layers.push_back({.n_heads = heads[i],
                               .n_kv_heads = kv_heads[i],
                               .d_ff = architecture.counts_gate_and_up ? ff[i] / 2 : ff[i],
                               .window = 0});
    }
}

ExpertSpec read_experts(const Metadata& metadata, const Architecture& architecture) {
    ExpertSpec experts;
    experts.n = metadata.optional_size("expert_count", kMaxExperts);
    if (experts.n == 0) return experts;
    experts.n_used = metadata.size("expert_used_count", experts.n);
    experts.d_ff = metadata.optional_size("expert_feed_forward_length", kMaxFeedForward);
    experts.d_ff_shared = metadata.optional_size("expert_shared_feed_forward_length", kMaxFeedForward);
    experts.normalized = metadata.flag("expert_weights_norm", architecture.normalizes_experts);
    const double scale = metadata.not_negative("expert_weights_scale", 1.0);
    experts.scale = scale == 0.0 ? 1.0F : static_cast<float>(scale);  // writers put 0 for none
    return experts;
}

double attention_scale(const Metadata& metadata, const Architecture& architecture, const ModelSpec& spec) {
    const auto n_layers = static_cast<std::int64_t>(spec.layers.size());
    const std::int64_t width = architecture.wide_scale_layers == n_layers
                                   ? spec.d_model / spec.layers.front().n_heads
                                   : spec.head_dim;
    return metadata.positive("attention.scale",
                             1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(width, 1))));
}

}  // namespace

ModelSpec read_model_spec(const gguf::File& file, std::int64_t n_ctx) {
    ModelSpec spec;
    spec.architecture = file.get_string("general.architecture");
    spec.name = file.get_string("general.name", "");
    const Architecture& architecture = find_architecture(spec.architecture);
    const Metadata metadata(file, spec.architecture);
    refuse_unread(metadata, architecture);

    const gguf::TensorInfo* embedding = file.find_tensor("token_embd.weight");
    if (embedding == nullptr) fail(ErrorCode::model, kComponent, "the file has no tensor token_embd.weight");
    spec.n_vocab = embedding->rows();
    spec.d_model = metadata.size("embedding_length", kMaxWidth);
    spec.n_ctx_train = metadata.size("context_length", kMaxContext);
    // Queries of a longer context would grow with their positions, which the decoder does not compute.
    if (architecture.heats_far_queries && metadata.not_negative("attention.temperature_scale", 0.0) > 0.0)
        spec.n_ctx_train = metadata.size("rope.scaling.original_context_length", spec.n_ctx_train);
    spec.experts = read_experts(metadata, architecture);
    // Every layer has tensors, so the file bounds their number as well.
    const std::int64_t n_layers =
        metadata.size("block_count", std::min(kMaxLayers, static_cast<std::int64_t>(file.tensors().size())));
    read_layers(metadata, architecture, n_layers, spec);
    read_windows(metadata, architecture, spec);
    read_purpose(metadata, architecture, spec);
    if (!spec.causal && metadata.optional_size("attention.sliding_window", kMaxContext) > 0)
        fail(ErrorCode::model, kComponent,
             "unsupported: " + metadata.full("attention.sliding_window") + " of a model that is not causal");

    const std::int64_t n_heads = spec.layers.front().n_heads;
    spec.head_dim = metadata.size("attention.key_length", spec.d_model / n_heads, kMaxHeadDim);
    if (metadata.size("attention.value_length", spec.head_dim, kMaxHeadDim) != spec.head_dim)
        fail(ErrorCode::model, kComponent, "unsupported: keys and values of different lengths");
    spec.attention_scale = static_cast<float>(attention_scale(metadata, architecture, spec));
    spec.attention_softcap = static_cast<float>(metadata.not_negative("attn_logit_softcapping", 0.0));
    spec.logit_softcap = static_cast<float>(metadata.not_negative("final_logit_softcapping", 0.0));
    if (architecture.scales_embedding)
        spec.embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(spec.d_model)));

    spec.norm_style = architecture.norm_style;
    spec.norms_sums = architecture.norms_sums;
    spec.norms_outputs = architecture.norms_outputs;
    spec.norms_all_heads = architecture.norms_all_heads;
    spec.has_positions = architecture.has_positions;
    spec.is_gated = architecture.is_gated;
    spec.has_biases = architecture.has_biases;
    spec.norm_eps = static_cast<float>(read_norm_eps(metadata, architecture));
    spec.head_norm_eps = spec.norm_eps;
    if (architecture.has_scales) read_scales(metadata, spec);
    spec.activation = architecture.activation;
    read_rotation(metadata, architecture, n_ctx, spec);
    spec.has_head_norms = architecture.has_head_norms;
    spec.has_post_norms = architecture.has_post_norms;
    spec.has_sinks = architecture.has_sinks;
    return spec;
}

}  // namespace llmcore
