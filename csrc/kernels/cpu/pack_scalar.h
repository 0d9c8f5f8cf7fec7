// Packs float rows to int8 with a scale per 32 (kernels/activation_layout.h).
#pragma once

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/activation_layout.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

inline void round_group(const float* x, float inverse, int8_t* q) {
    for (int i = 0; i < 32; ++i) q[i] = static_cast<int8_t>(nearbyintf(x[i] * inverse));
}

// Quantizes 32 values, ties to even; returns d. A group of zeros, or too small for 127 / max|x| to be finite,
// becomes zeros; one that holds an infinity or a NaN gets the scale NaN and zeros, so that what it touches is
// visibly not a number.
inline float pack_group(const float* x, int8_t* q) {
    constexpr float kSmallest = 0x1p-120F;
    float largest = 0.0F;
    bool finite = true;
    for (int i = 0; i < 32; ++i) {
        const float magnitude = fabsf(x[i]);
        finite &= magnitude <= FLT_MAX;
        if (magnitude > largest) largest = magnitude;
    }
    if (!finite || largest < kSmallest) {
        memset(q, 0, 32);
        return finite ? 0.0F : NAN;
    }
    float best = 0.0F;
    double least = HUGE_VAL;
    for (const float factor : kPackFactors) {
        const float d = largest / 127.0F * factor;
        round_group(x, 1.0F / d, q);
        double error = 0.0;
        for (int i = 0; i < 32; ++i) {
            const double off = (static_cast<double>(x[i]) - static_cast<double>(d) * q[i]) / largest;
            error += off * off;
        }
        if (error < least) {
            least = error;
            best = d;
        }
    }
    round_group(x, 1.0F / best, q);
    return best;
}

inline int sum_of(const int8_t* q, int64_t count) {
    int sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += q[i];
    return sum;
}

inline double pack_cost_scalar(const Shape* shape) {
    return 12.0 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

}  // namespace
}  // namespace llmcore
