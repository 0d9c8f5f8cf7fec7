// How many of a model's layers a GPU gets: what may be asked for, and how many fit. Those it gets are the
// last ones, with the head, which is large and read for every token; of the embedding a step reads but its
// tokens' rows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "backend/memory_probe.h"

namespace llmcore {

constexpr std::int64_t kAutoGpuLayers = -1;  // as many as fit
constexpr std::int64_t kAllGpuLayers = -2;   // every one, and the embedding

// A number from 0 on, "all", or "auto", which may be written -1. Throws Error(invalid_argument).
std::int64_t parse_gpu_layers(std::string_view text);

// The layers asked for of a model of n_layers, all for more than there are (people write 99); kAutoGpuLayers
// where that is left open. Throws Error(invalid_argument).
std::int64_t checked_gpu_layers(std::int64_t asked, std::int64_t n_layers);

struct GpuSizing {
    MemoryNeed need = {};                     // of the whole model, activations those of its own steps
    std::int64_t split_activation_bytes = 0;  // of steps that the CPU takes part in
    std::int64_t kv_layer_bytes = 0;          // of one layer's cache, of as many tokens as must fit
    std::int64_t free_bytes = 0;              // of the device's memory
};

// The most layers whose weights and cache fit beside the activations and a margin; all of them only if the
// embedding fits too.
std::int64_t fitting_gpu_layers(const GpuSizing& sizing);

// One line: what is where.
std::string describe_placement(std::int64_t gpu_layers, std::int64_t n_layers, const std::string& cpu,
                               const std::string& gpu);

}  // namespace llmcore
