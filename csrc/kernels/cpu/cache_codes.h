// Scales of the cache's quantized rows, the same whatever instruction set writes them. POD only.
//
// A block of 32 has the scale that its largest magnitude needs, as a half, and the codes nearest to
// x / scale. To search for a scale of less squared error gains a twentieth; a step has no time for it. A
// block that holds an infinity or a NaN gets the scale NaN, so that what it touches is visibly not a number.
#pragma once

#include <stdint.h>

#include "quant/half.h"

namespace llmcore {
namespace {

struct Extremes {
    float highest;
    float lowest;  // its negative
    bool finite;
};

// Codes -127 to 127.
inline float scale_of_q8(const Extremes& block) {
    if (!block.finite) return __builtin_nanf("");
    return (block.highest > block.lowest ? block.highest : block.lowest) / 127;
}

// Codes -8 to 7: what is largest, of either sign, is code -8.
inline float scale_of_q4(const Extremes& block) {
    if (!block.finite) return __builtin_nanf("");
    return (block.highest > block.lowest ? block.highest : -block.lowest) / -8;
}

struct CodeScale {
    uint16_t half;
    float inverse;  // of the rounded scale; 0 where that has none
};

inline CodeScale code_scale(float scale) {
    const uint16_t half = round_to_half(scale);
    const float rounded = expand_half(half);
    return {half, __builtin_isfinite(rounded) && rounded != 0 ? 1 / rounded : 0};
}

}  // namespace
}  // namespace llmcore
