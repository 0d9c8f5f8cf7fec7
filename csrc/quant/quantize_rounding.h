// Scales as the formats store them: halves and small integers.
#pragma once

#include <cmath>
#include <cstdint>

#include "quant/half.h"

namespace llmcore {
namespace {

constexpr int kLargestHalf = 0x7BFF;

inline int nearest_int(float value, int low, int high) {
    if (value <= static_cast<float>(low)) return low;
    if (value >= static_cast<float>(high)) return high;
    return static_cast<int>(std::lrintf(value));
}

// The half `steps` further from zero, between zero and the largest finite one of the same sign.
inline std::uint16_t step_half(std::uint16_t half, int steps) {
    int magnitude = (half & 0x7FFF) + steps;
    magnitude = magnitude < 0 ? 0 : magnitude;
    magnitude = magnitude > kLargestHalf ? kLargestHalf : magnitude;
    return static_cast<std::uint16_t>((half & 0x8000) | magnitude);
}

inline std::uint16_t nearest_finite_half(float value) { return step_half(round_to_half(value), 0); }

// The nearest half of at least that magnitude, so that what is divided by it stays in range.
inline std::uint16_t half_away_from_zero(float value) {
    const std::uint16_t half = nearest_finite_half(value);
    return step_half(half, std::fabs(expand_half(half)) < std::fabs(value) ? 1 : 0);
}

}  // namespace
}  // namespace llmcore
