// Packs float rows to int8 with a scale per 32 (kernels/activation_layout.h).
#pragma once

#include <math.h>
#include <string.h>

#include "kernels/activation_layout.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// Quantizes 32 values, ties to even; returns d.
inline float pack_group(const float* x, int8_t* q) {
    uint32_t largest_bits = 0;
    for (int i = 0; i < 32; ++i) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7FFFFFFF;
        if (bits > largest_bits) largest_bits = bits;
    }
    if (largest_bits < kPackSmallest || largest_bits >= kPackInfinity) {
        memset(q, 0, 32);
        return largest_bits < kPackSmallest ? 0.0F : NAN;
    }
    float largest;
    memcpy(&largest, &largest_bits, sizeof largest);
    double best = 0;
    double least = HUGE_VAL;
    for (const float factor : kPackFactors) {
        const double steps = 127.0 / static_cast<double>(factor) / static_cast<double>(largest);
        double error = 0;
        for (int i = 0; i < 32; ++i) {
            const double scaled = static_cast<double>(x[i]) * steps;
            const double off = (scaled - nearbyint(scaled)) / steps / static_cast<double>(largest);
            error += off * off;
        }
        if (error < least) {
            least = error;
            best = steps;
        }
    }
    double products = 0;
    double squares = 0;
    for (int i = 0; i < 32; ++i) {
        q[i] = static_cast<int8_t>(nearbyint(static_cast<double>(x[i]) * best));
        products += static_cast<double>(x[i]) * q[i];
        squares += static_cast<double>(q[i]) * q[i];
    }
    return static_cast<float>(products / squares);
}

inline int sum_of(const int8_t* q, int64_t count) {
    int sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += q[i];
    return sum;
}

inline double pack_cost_scalar(const Shape* shape) {
    return 20.0 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

}  // namespace
}  // namespace llmcore
