// The exponential that weighs a vocabulary, one number at a time. POD only.
#pragma once

#include <stdint.h>
#include <string.h>

namespace llmcore {
namespace {

// e^x for x <= 0, relative error below 3e-7; 0 where the result would be subnormal. Cody and Waite's
// reduction to |r| <= ln(2)/2, then the Taylor polynomial. Branch-free.
inline float exp_nonpositive(float x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    constexpr int32_t kRoundBits = 0x4B400000;
    constexpr uint32_t kLowest = 0xC2C80000;  // -100
    // max(x, -100) on the bits, whose order is that of the magnitude: a choice between floats is not
    // vectorized, since comparing may trap.
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bits < kLowest ? bits : kLowest;
    float clamped;
    memcpy(&clamped, &bits, sizeof clamped);
    const float shifted = clamped * 1.44269504f + kRound;
    const float n = shifted - kRound;
    const float r = clamped - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t exponent;
    memcpy(&exponent, &shifted, sizeof exponent);
    exponent += 127 - kRoundBits;
    exponent = (exponent > 0 ? exponent : 0) << 23;
    float power;
    memcpy(&power, &exponent, sizeof power);
    return p * power;
}

}  // namespace
}  // namespace llmcore
