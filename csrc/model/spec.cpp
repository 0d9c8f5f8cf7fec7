#include "model/spec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "gguf/printable.h"
#include "model/architectures.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr std::string_view kComponent = "model";
constexpr std::int64_t kMaxHeadDim = 1024;
constexpr std::int64_t kMaxLayers = 1024;  // each costs pages, however small its tensors
constexpr std::int64_t kMaxContext = std::int64_t{1} << 24;

const Architecture& find_architecture(const std::string& name) {
    std::string known;
    for (const Architecture& candidate : architectures()) {
        if (candidate.name == name) return candidate;
        known.append(known.empty() ? "" : ", ").append(candidate.name);
    }
    fail(ErrorCode::model, kComponent, "unsupported architecture", gguf::printable(name), "one of " + known);
}

// Reads the metadata of one architecture, whose keys begin with its name.
class Metadata {
public:
    Metadata(const gguf::File& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

    std::int64_t size(std::string_view key, std::int64_t largest) const {
        return checked(key, file_.get_int(full(key)), largest);
    }
    std::int64_t size(std::string_view key, std::int64_t fallback, std::int64_t largest) const {
        return checked(key, file_.get_int(full(key), fallback), largest);
    }
    double number(std::string_view key, double fallback) const {
        return file_.get_float(full(key), fallback);
    }
    std::string text(std::string_view key, std::string_view fallback) const {
        return file_.get_string(full(key), fallback);
    }

    // A number for all layers, or an array with one a layer.
    std::vector<std::int64_t> per_layer(std::string_view key, std::int64_t n_layers, std::int64_t fallback,
                                        std::int64_t largest) const {
        const gguf::Value* value = file_.find(full(key));
        std::vector<std::int64_t> numbers;
        if (value != nullptr && value->is_array())
            numbers = value->as_ints().value_or(std::vector<std::int64_t>());
        else
            numbers.assign(static_cast<std::size_t>(n_layers), file_.get_int(full(key), fallback));
        if (static_cast<std::int64_t>(numbers.size()) != n_layers)
            fail(ErrorCode::model, kComponent, "length of " + full(key), std::to_string(numbers.size()),
                 "one number a layer, " + std::to_string(n_layers));
        for (const std::int64_t number : numbers) checked(key, number, largest);
        return numbers;
    }

    std::string full(std::string_view key) const { return prefix_ + "." + std::string(key); }

private:
    std::int64_t checked(std::string_view key, std::int64_t value, std::int64_t largest) const {
        if (value < 1 || value > largest)
            fail(ErrorCode::model, kComponent, "value of " + full(key), std::to_string(value),
                 "1 to " + std::to_string(largest));
        return value;
    }

    const gguf::File& file_;
    std::string prefix_;
};

// Frequencies of RoPE: base^(-2i / dims), divided by the context's linear scale and by the file's own
// factors.
std::vector<float> read_inv_freq(const gguf::File& file, const Metadata& metadata, std::int64_t rope_dims) {
    const std::string scaling = metadata.text("rope.scaling.type", "none");
    if (scaling != "none" && scaling != "linear")
        fail(ErrorCode::model, kComponent, "unsupported " + metadata.full("rope.scaling.type"),
             gguf::printable(scaling), "none or linear");
    const double base = metadata.number("rope.freq_base", 10000.0);
    const double scale = scaling == "linear" ? metadata.number("rope.scaling.factor", 1.0) : 1.0;
    if (!(base > 0.0) || !(scale > 0.0) || !std::isfinite(base) || !std::isfinite(scale))
        fail(ErrorCode::model, kComponent,
             "values of " + metadata.full("rope.freq_base") + " and " + metadata.full("rope.scaling.factor"),
             std::to_string(base) + " and " + std::to_string(scale), "positive numbers");

    const std::int64_t count = rope_dims / 2;
    const gguf::TensorInfo* factors = file.find_tensor("rope_freqs.weight");
    if (factors != nullptr &&
        (factors->format != Format::F32 || factors->cols() != count || factors->rows() != 1))
        fail(ErrorCode::model, kComponent, "shape of rope_freqs.weight",
             std::to_string(factors->rows()) + " x " + std::to_string(factors->cols()) + " of " +
                 format_info(factors->format).name,
             std::to_string(count) + " values of F32");
    std::vector<float> inv_freq(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
        double frequency =
            std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rope_dims)) / scale;
        if (factors != nullptr) {
            float factor = 1.0F;
            std::memcpy(&factor, factors->data + i * 4, sizeof(factor));
            frequency /= factor;
        }
        if (!(std::abs(frequency) <= std::numeric_limits<float>::max()))
            fail(ErrorCode::model, kComponent,
                 "rope frequency " + std::to_string(i) + " of " + metadata.full("rope.freq_base") +
                     (factors != nullptr ? " and rope_freqs.weight" : "") + " is no finite float");
        inv_freq[static_cast<std::size_t>(i)] = static_cast<float>(frequency);
    }
    return inv_freq;
}

void read_layers(const Metadata& metadata, std::int64_t n_layers, ModelSpec& spec) {
    constexpr std::int64_t kMaxHeads = 1 << 16;
    const auto heads = metadata.per_layer("attention.head_count", n_layers, 0, kMaxHeads);
    const auto ff = metadata.per_layer("feed_forward_length", n_layers, 0, std::int64_t{1} << 30);
    for (std::size_t i = 0; i < heads.size(); ++i) {
        spec.layers.push_back({.n_heads = heads[i], .n_kv_heads = heads[i], .d_ff = ff[i]});
    }
    if (const auto kv_heads =
            metadata.per_layer("attention.head_count_kv", n_layers, heads.front(), kMaxHeads);
        !kv_heads.empty())
        for (std::size_t i = 0; i < heads.size(); ++i) spec.layers[i].n_kv_heads = kv_heads[i];
    for (const LayerSpec& layer : spec.layers) {
        if (layer.n_heads % layer.n_kv_heads != 0)
            fail(ErrorCode::model, kComponent, "heads are no multiple of key-value heads",
                 std::to_string(layer.n_heads) + " and " + std::to_string(layer.n_kv_heads), "whole groups");
        const LayerSpec& first = spec.layers.front();
        if (layer.n_heads != first.n_heads || layer.n_kv_heads != first.n_kv_heads ||
            layer.d_ff != first.d_ff)
            fail(ErrorCode::model, kComponent, "unsupported: layers of different widths");
    }
}

}  // namespace

ModelSpec read_model_spec(const gguf::File& file) {
    ModelSpec spec;
    spec.architecture = file.get_string("general.architecture");
    spec.name = file.get_string("general.name", "");
    const Architecture& architecture = find_architecture(spec.architecture);
    const Metadata metadata(file, spec.architecture);

    const gguf::TensorInfo* embedding = file.find_tensor("token_embd.weight");
    if (embedding == nullptr) fail(ErrorCode::model, kComponent, "the file has no tensor token_embd.weight");
    spec.n_vocab = embedding->rows();
    spec.d_model = metadata.size("embedding_length", std::int64_t{1} << 24);
    spec.n_ctx_train = metadata.size("context_length", kMaxContext);
    // Every layer has tensors, so the file bounds their number as well.
    const std::int64_t n_layers =
        metadata.size("block_count", std::min(kMaxLayers, static_cast<std::int64_t>(file.tensors().size())));
    read_layers(metadata, n_layers, spec);
    if (file.get_int(metadata.full("expert_count"), 0) > 0)
        fail(ErrorCode::model, kComponent,
             "unsupported: mixture of experts (" + metadata.full("expert_count") + ")");

    const std::int64_t n_heads = spec.layers.front().n_heads;
    spec.head_dim = metadata.size("attention.key_length", spec.d_model / n_heads, kMaxHeadDim);
    if (metadata.size("attention.value_length", spec.head_dim, kMaxHeadDim) != spec.head_dim)
        fail(ErrorCode::model, kComponent, "unsupported: keys and values of different lengths");
    spec.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.head_dim)));

    const double norm_eps = metadata.number("attention.layer_norm_rms_epsilon", 1e-5);
    if (!(norm_eps >= 0.0 && norm_eps < 1.0))
        fail(ErrorCode::model, kComponent, "value of " + metadata.full("attention.layer_norm_rms_epsilon"),
             std::to_string(norm_eps), "0 to 1");
    spec.norm_eps = static_cast<float>(norm_eps);
    spec.activation = architecture.activation;
    spec.rope_style = architecture.rope_style;
    spec.rope_dims = metadata.size("rope.dimension_count", spec.head_dim, spec.head_dim);
    if (spec.rope_dims % 2 != 0)
        fail(ErrorCode::model, kComponent, "value of " + metadata.full("rope.dimension_count"),
             std::to_string(spec.rope_dims), "an even number");
    spec.inv_freq = read_inv_freq(file, metadata, spec.rope_dims);
    return spec;
}

}  // namespace llmcore
