// Packs float rows to int8 with a scale per 32 or per 256 (kernels/activation_layout.h).
#pragma once

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/activation_layout.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// Quantizes one group to q = round(x / d), d = max|x| / 127, ties to even; returns d. A group of zeros, or
// too small for 127 / max|x| to be finite, becomes zeros; one that holds an infinity or a NaN gets the scale
// NaN and zeros, so that what it touches is visibly not a number.
inline float pack_group(const float* x, int64_t count, int8_t* q) {
    constexpr float kSmallest = 0x1p-120F;
    float largest = 0.0F;
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) {
        const float magnitude = fabsf(x[i]);
        finite &= magnitude <= FLT_MAX;
        if (magnitude > largest) largest = magnitude;
    }
    if (!finite || largest < kSmallest) {
        memset(q, 0, static_cast<size_t>(count));
        return finite ? 0.0F : NAN;
    }
    const float inverse = 127.0F / largest;
    for (int64_t i = 0; i < count; ++i) q[i] = static_cast<int8_t>(nearbyintf(x[i] * inverse));
    return largest / 127.0F;
}

inline int sum_of(const int8_t* q, int64_t count) {
    int sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += q[i];
    return sum;
}

inline double pack_cost_scalar(const Shape* shape) {
    return 3.0 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

}  // namespace
}  // namespace llmcore
