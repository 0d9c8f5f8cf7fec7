// Rounds 32 floats to int8.
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/activation_layout.h"
#include "kernels/cpu/unrolled.h"

namespace llmcore {
namespace {

// The largest magnitude of 32 floats as bits: NaN is above infinity, infinity above all numbers.
LLMCORE_INLINE uint32_t largest_magnitude_bits(const float* x) {
    uint32x4_t largest = vdupq_n_u32(0);
    for (int i = 0; i < 32; i += 4)
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + i))));
    return vmaxvq_u32(largest);
}

// The squared error of 32 floats, relative to the largest, at one of the scales.
LLMCORE_INLINE float pack_error(const float32x4_t (&x)[8], float factor) {
    const float32x4_t scale = vdupq_n_f32(factor / 127);
    const float32x4_t inverse = vdupq_n_f32(127 / factor);
    float32x4_t total = vdupq_n_f32(0);
    for (const float32x4_t v : x) {
        const float32x4_t off = vfmsq_f32(v, vrndnq_f32(vmulq_f32(v, inverse)), scale);
        total = vfmaq_f32(total, off, off);
    }
    return vaddvq_f32(total);
}

// 16 whole numbers within int8, in order.
LLMCORE_INLINE int8x16_t to_int8(const float32x4_t* steps) {
    const int16x8_t low =
        vcombine_s16(vmovn_s32(vcvtq_s32_f32(steps[0])), vmovn_s32(vcvtq_s32_f32(steps[1])));
    const int16x8_t high =
        vcombine_s16(vmovn_s32(vcvtq_s32_f32(steps[2])), vmovn_s32(vcvtq_s32_f32(steps[3])));
    return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}

struct PackedGroup {
    int8x16_t low, high;
    float d;
};

LLMCORE_INLINE PackedGroup pack_group(const float* x) {
    const uint32_t bits = largest_magnitude_bits(x);
    if (bits < kPackSmallest) return {vdupq_n_s8(0), vdupq_n_s8(0), 0};
    if (bits >= kPackInfinity) return {vdupq_n_s8(0), vdupq_n_s8(0), __builtin_nanf("")};
    float largest;
    memcpy(&largest, &bits, 4);
    // Relative to the largest, no square leaves the range of floats.
    const float32x4_t relative = vdupq_n_f32(1 / largest);
    float32x4_t v[8];
    for (int i = 0; i < 8; ++i) v[i] = vmulq_f32(vld1q_f32(x + 4 * i), relative);
    float best = kPackFactors[0];
    float least = pack_error(v, best);
    for (int i = 1; i < kPackScales; ++i) {
        const float error = pack_error(v, kPackFactors[i]);
        best = error < least ? kPackFactors[i] : best;
        least = error < least ? error : least;
    }
    const float32x4_t inverse = vdupq_n_f32(127 / best);
    float32x4_t steps[8];
    float32x4_t products = vdupq_n_f32(0);
    float32x4_t squares = vdupq_n_f32(0);
    for (int i = 0; i < 8; ++i) {
        steps[i] = vrndnq_f32(vmulq_f32(v[i], inverse));
        products = vfmaq_f32(products, v[i], steps[i]);
        squares = vfmaq_f32(squares, steps[i], steps[i]);
    }
    return {to_int8(steps), to_int8(steps + 4), largest * (vaddvq_f32(products) / vaddvq_f32(squares))};
}

LLMCORE_INLINE void clear(char* from, const char* to) { memset(from, 0, static_cast<size_t>(to - from)); }

}  // namespace
}  // namespace llmcore
