// Frequencies of rotary position embedding, with every scaling of contexts that GGUF files ask for.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/architectures.h"
#include "model/metadata.h"

namespace llmcore {

struct RopeSpec {
    std::vector<float> inv_freq;  // dims / 2: radians a position
    float magnitude = 1.0F;       // of the rotated vectors
};

// base^(-2i / dims) (Su et al. 2021) with the base of that key, and nothing else.
RopeSpec plain_rope(const Metadata& metadata, std::string_view base_key, double fallback, std::int64_t dims);

// The file's: its base, its scaling (linear; YaRN, Peng et al. 2023; the factors of Llama 3 and LongRoPE,
// Ding et al. 2024, which the file has as tensors). n_ctx chooses between LongRoPE's two sets of factors: the
// long one beyond the original context. Throws Error(model) for a scaling that is not supported and for
// values that make no finite frequency.
RopeSpec read_rope(const Metadata& metadata, const Architecture& architecture, std::int64_t dims,
                   std::int64_t n_ctx_train, std::int64_t n_ctx);

// The tensors that read_rope may use.
inline constexpr const char* kRopeFactors = "rope_freqs.weight";
inline constexpr const char* kRopeFactorsLong = "rope_factors_long.weight";
inline constexpr const char* kRopeFactorsShort = "rope_factors_short.weight";

}  // namespace llmcore
