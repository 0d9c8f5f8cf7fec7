// Counter-based random numbers: the draw for a token depends on the seed and the token's place alone, never
// on what else is in the batch.
#pragma once

#include <cstdint>

namespace llmcore {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit changes each output bit about half
// the time.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

// Uniform in [0, 1), 53 bits.
constexpr double uniform_draw(std::uint64_t seed, std::uint64_t counter) {
    const std::uint64_t bits = mix_bits(mix_bits(seed) + (counter + 1) * 0x9E3779B97F4A7C15ULL);
    return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

// The seed of sequence `index` of a request; the first sequence keeps the request's own.
constexpr std::uint64_t child_seed(std::uint64_t seed, std::uint64_t index) {
    return index == 0 ? seed : mix_bits(seed ^ mix_bits(index * 0x9E3779B97F4A7C15ULL));
}

}  // namespace llmcore
