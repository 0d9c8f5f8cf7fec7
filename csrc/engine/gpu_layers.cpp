#include "engine/gpu_layers.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace llmcore {

namespace {

constexpr const char* kExpected = "a number of layers, auto or all";

// What is left free: for code and graphs, and for forms of activations that are made as kernels want them,
// which are narrower than the float32 ones.
constexpr double kMarginBytes = 256.0 * 1024 * 1024;
constexpr double kMarginShare = 1.0 / 32;
constexpr double kActivationRoom = 1.75;

// Of what is left beside the weights the cache is given four fifths: see plan_cache.
constexpr double kCacheRoom = 1.25;

double bytes_of(const GpuSizing& sizing, std::int64_t n) {
    const auto n_layers = static_cast<std::int64_t>(sizing.need.layers.size());
    auto weights = static_cast<double>(sizing.need.head);
    for (std::int64_t layer = n_layers - n; layer < n_layers; ++layer)
        weights += static_cast<double>(sizing.need.layers[static_cast<std::size_t>(layer)]);
    const bool whole = n == n_layers;
    if (whole) weights += static_cast<double>(sizing.need.embedding);
    const auto activations =
        static_cast<double>(whole ? sizing.need.activations : sizing.split_activation_bytes);
    const double cache = kCacheRoom * static_cast<double>(sizing.kv_layer_bytes) * static_cast<double>(n);
    const double margin = kMarginBytes + kMarginShare * static_cast<double>(sizing.free_bytes);
    return weights + std::max(cache, static_cast<double>(sizing.need.largest_weight)) +
           kActivationRoom * activations + margin;
}

std::string layers_text(std::int64_t n) { return n == 1 ? "layer" : std::to_string(n) + " layers"; }

}  // namespace

std::int64_t parse_gpu_layers(std::string_view text) {
    if (text == "auto" || text == "-1") return kAutoGpuLayers;
    if (text == "all") return kAllGpuLayers;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0)
        fail(ErrorCode::invalid_argument, "engine", "gpu_layers", text, kExpected);
    return value;
}

std::int64_t checked_gpu_layers(std::int64_t asked, std::int64_t n_layers) {
    if (asked == kAllGpuLayers) return n_layers;
    if (asked < kAutoGpuLayers)
        fail(ErrorCode::invalid_argument, "engine", "gpu_layers", std::to_string(asked), kExpected);
    return std::min(asked, n_layers);
}

std::int64_t fitting_gpu_layers(const GpuSizing& sizing) {
    auto n = static_cast<std::int64_t>(sizing.need.layers.size());
    while (n > 0 && bytes_of(sizing, n) > static_cast<double>(sizing.free_bytes)) --n;
    return n;
}

std::string describe_placement(std::int64_t gpu_layers, std::int64_t n_layers, const std::string& cpu,
                               const std::string& gpu) {
    if (gpu_layers == 0) return "all " + layers_text(n_layers) + " on " + cpu;
    if (gpu_layers == n_layers) return "all " + layers_text(n_layers) + " on " + gpu;
    const std::int64_t first = n_layers - gpu_layers;
    return "the last " + layers_text(gpu_layers) + " of " + std::to_string(n_layers) + " and the head on " +
           gpu + ", the embedding and the first " + layers_text(first) + " on " + cpu;
}

}  // namespace llmcore
