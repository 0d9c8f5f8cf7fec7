// IEEE half precision by bit manipulation, for code that may not use F16C. POD only.
#pragma once

#include <stdint.h>

namespace llmcore {
namespace {

inline float float_from_bits(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t float_bits(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Exact for every half; a NaN keeps its payload and becomes quiet, as the hardware's conversion does.
inline float expand_half(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1Fu;
    const uint32_t mantissa = half & 0x3FFu;
    if (exponent == 0) {
        const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
        return float_from_bits(sign | float_bits(magnitude));
    }
    if (exponent == 31) {
        const uint32_t quiet = mantissa != 0 ? 0x400000u : 0u;
        return float_from_bits(sign | 0x7F800000u | quiet | (mantissa << 13));
    }
    return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Rounds to nearest, ties to even; too large becomes infinity, a NaN keeps the top of its payload.
inline uint16_t round_to_half(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    uint32_t half;
    if (magnitude > 0x7F800000u) {
        half = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
    } else if (magnitude >= 0x47800000u) {  // 2^16 and above
        half = 0x7C00u;
    } else if (magnitude >=
               0x38800000u) {  // normal: a carry out of the mantissa raises the exponent, as it should
        half = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
    } else {  // 0.5 has an ulp of 2^-24, the step of subnormal halves: the sum's low bits are the half
        half = float_bits(float_from_bits(magnitude) + 0.5f) - 0x3F000000u;
    }
    return static_cast<uint16_t>(sign | half);
}

}  // namespace
}  // namespace llmcore
