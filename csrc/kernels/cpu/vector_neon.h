// Four floats: what the kernels of norm, rope, glu, kv_store and attention are written in, as in
// vector_avx2.h. Every AArch64 has what this needs.
#pragma once

#include <arm_neon.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/unrolled.h"

namespace llmcore {
namespace {

// The upper half of a float's bits.
struct Bf16 {
    uint16_t bits;
};

struct Vec {
    static constexpr int kLanes = 4;
    static constexpr int kQueryTile = 4;  // attention: queries that share a key in registers, of which are 32
    float32x4_t v;

    static LLMCORE_INLINE Vec set(float x) { return {vdupq_n_f32(x)}; }
    static LLMCORE_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
    static LLMCORE_INLINE Vec load(const uint16_t* halves) {
        return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves)))};
    }
    static LLMCORE_INLINE Vec set_half(uint16_t half) {
        return {vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)))};
    }
    static LLMCORE_INLINE Vec load(const Bf16* p) {
        return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p->bits), 16))};
    }
    static LLMCORE_INLINE Vec load(const int8_t* p) {
        return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(load_four(p)))))};
    }
    // Of kLanes bytes, the low halves and the high ones.
    static LLMCORE_INLINE void load_nibbles(const uint8_t* p, Vec* low, Vec* high) {
        const uint16x4_t bytes = vget_low_u16(vmovl_u8(vreinterpret_u8_s8(load_four(p))));
        low->v = vcvtq_f32_u32(vmovl_u16(vand_u16(bytes, vdup_n_u16(15))));
        high->v = vcvtq_f32_u32(vmovl_u16(vshr_n_u16(bytes, 4)));
    }
    // The first n (at most kLanes) floats, then zeros; does not read further.
    static LLMCORE_INLINE Vec load_first(const float* p, int64_t n) {
        float lanes[kLanes] = {};
        memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
        return load(lanes);
    }

    LLMCORE_INLINE void store(float* p) const { vst1q_f32(p, v); }
    LLMCORE_INLINE void store(uint16_t* halves) const {
        vst1_u16(halves, vreinterpret_u16_f16(vcvt_f16_f32(v)));
    }
    LLMCORE_INLINE void store_first(float* p, int64_t n) const {
        float lanes[kLanes];
        store(lanes);
        memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
    }
    // To nearest, ties to even; what is not a number stays so.
    LLMCORE_INLINE void store(Bf16* p) const {
        const uint32x4_t bits = vreinterpretq_u32_f32(v);
        const uint32x4_t high = vshrq_n_u32(bits, 16);
        const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
        const uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
        const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));
        vst1_u16(&p->bits, vmovn_u32(vbslq_u32(vceqq_f32(v, v), vshrq_n_u32(up, 16), quiet)));
    }
    // Whole numbers of -128 to 127, and of 0 to 255.
    LLMCORE_INLINE void store(int8_t* p) const {
        const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(v));
        store_four(p, vreinterpret_u32_s8(vqmovn_s16(vcombine_s16(words, words))));
    }
    LLMCORE_INLINE void store(uint8_t* p) const {
        const int16x4_t words = vqmovn_s32(vcvtnq_s32_f32(v));
        store_four(p, vreinterpret_u32_u8(vqmovun_s16(vcombine_s16(words, words))));
    }
    // Each lane twice: 8 floats.
    LLMCORE_INLINE void store_twice(float* p) const {
        vst1q_f32(p, vzip1q_f32(v, v));
        vst1q_f32(p + 4, vzip2q_f32(v, v));
    }

    LLMCORE_INLINE float sum() const { return vaddvq_f32(v); }
    LLMCORE_INLINE float maximum() const { return vmaxvq_f32(v); }

private:
    static LLMCORE_INLINE int8x8_t load_four(const void* p) {
        uint32_t bytes;
        memcpy(&bytes, p, sizeof bytes);
        return vreinterpret_s8_u32(vdup_n_u32(bytes));
    }
    static LLMCORE_INLINE void store_four(void* p, uint32x2_t bytes) {
        const uint32_t lane = vget_lane_u32(bytes, 0);
        memcpy(p, &lane, sizeof lane);
    }
};

LLMCORE_INLINE Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
LLMCORE_INLINE Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
LLMCORE_INLINE Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
LLMCORE_INLINE Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
LLMCORE_INLINE Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }   // a * b + c
LLMCORE_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {vfmsq_f32(c.v, a.v, b.v)}; }  // c - a * b
// If one is not a number, the result is b.
LLMCORE_INLINE Vec max(Vec a, Vec b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
LLMCORE_INLINE Vec min(Vec a, Vec b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
LLMCORE_INLINE Vec magnitude(Vec a) { return {vabsq_f32(a.v)}; }
LLMCORE_INLINE Vec with_sign_of(Vec magnitude, Vec sign) {
    return {vbslq_f32(vdupq_n_u32(0x80000000), sign.v, magnitude.v)};
}
LLMCORE_INLINE Vec nearest_integer(Vec a) { return {vrndnq_f32(a.v)}; }

// x * 2^n for integers n of -200 to 200. Two factors, so that subnormal results and infinity come out right.
LLMCORE_INLINE Vec times_power_of_two(Vec x, Vec n) {
    const int32x4_t exponent = vcvtnq_s32_f32(n.v);
    const int32x4_t half = vshrq_n_s32(exponent, 1);
    const int32x4_t rest = vsubq_s32(exponent, half);
    const int32x4_t bias = vdupq_n_s32(127);
    const float32x4_t a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
    const float32x4_t b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
    return {vmulq_f32(vmulq_f32(x.v, a), b)};
}

// value where x >= least, 0 elsewhere.
LLMCORE_INLINE Vec where_at_least(Vec x, Vec least, Vec value) {
    return {vreinterpretq_f32_u32(vandq_u32(vcgeq_f32(x.v, least.v), vreinterpretq_u32_f32(value.v)))};
}

// x * 2^n for integers n of -126 to 127; 0 for -127.
LLMCORE_INLINE Vec times_normal_power_of_two(Vec x, Vec n) {
    const int32x4_t exponent = vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127));
    return {vmulq_f32(x.v, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)))};
}

// Pairs (even, odd) of x turned by angles whose cosines and sines stand in both lanes of a pair.
LLMCORE_INLINE Vec turn_pairs(Vec x, Vec cosine, Vec sine) {
    const float32x4_t swapped = vmulq_f32(vrev64q_f32(x.v), sine.v);
    const uint32x4_t even = vreinterpretq_u32_u64(vdupq_n_u64(0x80000000));
    const float32x4_t added = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(swapped), even));
    return {vfmaq_f32(added, x.v, cosine.v)};
}

// An angle as quarter turns and what is left, at most an eighth turn either way.
struct Angle {
    Vec rest, quarter_cosine, quarter_sine;
};

LLMCORE_INLINE float32x2_t rest_of_quarters(float64x2_t angle, int32x2_t* quarters) {
    const float64x2_t n = vrndnq_f64(vmulq_f64(angle, vdupq_n_f64(0.63661977236758134308)));
    *quarters = vmovn_s64(vcvtq_s64_f64(n));
    angle = vfmsq_f64(angle, n, vdupq_n_f64(1.5707963267948965580));  // pi / 2, then what double lost of it
    return vcvt_f32_f64(vfmsq_f64(angle, n, vdupq_n_f64(6.1232339957367658e-17)));
}

LLMCORE_INLINE Angle angle_of(int32_t position, Vec inv_freq) {
    const float64x2_t p = vdupq_n_f64(position);
    int32x2_t q0, q1;
    const float32x2_t r0 = rest_of_quarters(vmulq_f64(p, vcvt_f64_f32(vget_low_f32(inv_freq.v))), &q0);
    const float32x2_t r1 = rest_of_quarters(vmulq_f64(p, vcvt_high_f64_f32(inv_freq.v)), &q1);
    const uint32x4_t quarter = vreinterpretq_u32_s32(vcombine_s32(q0, q1));
    // Quarters 0 to 3 have the cosines 1, 0, -1, 0 and the sines 0, 1, 0, -1: the upper bit is the sign of
    // that which is not 0.
    const uint32x4_t upper_to_sign = vandq_u32(vshlq_n_u32(quarter, 30), vdupq_n_u32(0x80000000));
    const uint32x4_t unit = vorrq_u32(upper_to_sign, vreinterpretq_u32_f32(vdupq_n_f32(1)));
    const uint32x4_t odd = vtstq_u32(quarter, vdupq_n_u32(1));
    return {{vcombine_f32(r0, r1)},
            {vreinterpretq_f32_u32(vbicq_u32(unit, odd))},
            {vreinterpretq_f32_u32(vandq_u32(unit, odd))}};
}

// The sums of four vectors' lanes.
LLMCORE_INLINE void store_sums(Vec a, Vec b, Vec c, Vec d, float* out) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a.v, b.v), vpaddq_f32(c.v, d.v)));
}

}  // namespace
}  // namespace llmcore
