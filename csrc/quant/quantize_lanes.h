// Four floats at a time, in the compilers' portable vector type: the same sums in the same order on every
// machine, so that the same weights give the same file.
#pragma once

#include <cstdint>
#include <cstring>

namespace llmcore {
namespace {

using Lanes = float __attribute__((vector_size(16)));
using LaneInts = std::int32_t __attribute__((vector_size(16)));

inline Lanes lanes(float value) { return Lanes{value, value, value, value}; }

inline Lanes load_lanes(const float* from) {
    Lanes result;
    std::memcpy(&result, from, sizeof result);
    return result;
}

inline void store_lanes(float* to, Lanes values) { std::memcpy(to, &values, sizeof values); }

inline float sum_lanes(Lanes v) { return (v[0] + v[2]) + (v[1] + v[3]); }

inline Lanes clamp_lanes(Lanes v, Lanes low, Lanes high) {
    v = v < low ? low : v;
    return v > high ? high : v;
}

// To the nearest integer, ties to even: adding 1.5 * 2^23 leaves no bits for a fraction. For |v| < 2^22.
inline Lanes round_lanes(Lanes v) {
    const Lanes shift = lanes(12582912.0F);
    return (v + shift) - shift;
}

inline float max_magnitude(const float* x, int n) {
    Lanes low = lanes(0.0F);
    Lanes high = lanes(0.0F);
    for (int i = 0; i < n; i += 4) {
        const Lanes v = load_lanes(x + i);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    float result = 0.0F;
    for (int lane = 0; lane < 4; ++lane) {
        result = -low[lane] > result ? -low[lane] : result;
        result = high[lane] > result ? high[lane] : result;
    }
    return result;
}

inline float inverse_or_zero(float scale) { return scale == 0.0F ? 0.0F : 1.0F / scale; }

inline float sum_of(const float* x, int n) {
    Lanes sum = lanes(0.0F);
    for (int i = 0; i < n; i += 4) sum += load_lanes(x + i);
    return sum_lanes(sum);
}

inline float sum_of_squares(const float* x, int n) {
    Lanes sum = lanes(0.0F);
    for (int i = 0; i < n; i += 4) sum += load_lanes(x + i) * load_lanes(x + i);
    return sum_lanes(sum);
}

// Of sums as they are computed. Where all values are nearly equal, every level fits as well, and rounding
// must not choose: sub-blocks that choose alike share the scale they are stored with.
constexpr float kSumRounding = 3e-7F;

}  // namespace
}  // namespace llmcore
