// Rounds to IEEE half precision by bit manipulation, for code that may not use F16C. POD only.
#pragma once

#include <stdint.h>
#include <string.h>

namespace llmcore {
namespace {

// Round to nearest, ties to even; too large becomes infinity.
inline uint16_t float_to_half_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
    bits &= 0x7FFFFFFFu;
    uint32_t half;
    if (bits > 0x7F800000u) {
        half = 0x7E00;                 // NaN
    } else if (bits >= 0x477FF000u) {  // 65520 and above
        half = 0x7C00;
    } else if (bits >=
               0x38800000u) {  // normal: a carry out of the mantissa raises the exponent, as it should
        half = (bits - (112u << 23) + 0xFFF + ((bits >> 13) & 1)) >> 13;
    } else {  // 0.5f has an ulp of 2^-24, the step of subnormal halves
        float shifted;
        memcpy(&shifted, &bits, 4);
        shifted += 0.5f;
        memcpy(&bits, &shifted, 4);
        half = bits - 0x3F000000u;
    }
    return static_cast<uint16_t>(sign | half);
}

}  // namespace
}  // namespace llmcore
