// Small pieces that unpack weights with NEON.
#pragma once

#include <arm_neon.h>
#include <string.h>

#include "kernels/cpu/unrolled.h"

namespace llmcore {
namespace {

struct Bytes32 {
    int8x16_t low, high;
};

LLMCORE_INLINE int8x16_t load_s8(const void* p) { return vld1q_s8(static_cast<const int8_t*>(p)); }
LLMCORE_INLINE uint8x16_t load_u8(const void* p) { return vld1q_u8(static_cast<const uint8_t*>(p)); }

LLMCORE_INLINE uint32_t load_u32(const void* p) {
    uint32_t x;
    memcpy(&x, p, 4);
    return x;
}

LLMCORE_INLINE uint64_t load_u64(const void* p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

LLMCORE_INLINE float half_to_float(uint16_t half) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

LLMCORE_INLINE float32x4_t four_halves(uint16_t a, uint16_t b, uint16_t c, uint16_t d) {
    const uint16x4_t halves = {a, b, c, d};
    return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

// As signed bytes, minus `zero`.
LLMCORE_INLINE Bytes32 minus(uint8x16_t low, uint8x16_t high, int8_t zero) {
    return {vsubq_s8(vreinterpretq_s8_u8(low), vdupq_n_s8(zero)),
            vsubq_s8(vreinterpretq_s8_u8(high), vdupq_n_s8(zero))};
}

LLMCORE_INLINE uint8x16_t masked(uint8x16_t x, uint8_t bits) { return vandq_u8(x, vdupq_n_u8(bits)); }

// Moves every byte's bit From to bit To.
template <int From, int To>
LLMCORE_INLINE uint8x16_t move_bits(uint8x16_t x) {
    if constexpr (From < To) return vshlq_n_u8(x, To - From);
    if constexpr (From > To) return vshrq_n_u8(x, From - To);
    return x;
}

struct Unsigned32 {
    uint8x16_t low, high;
};

// 16 bytes of nibbles: the low ones, then the high ones.
LLMCORE_INLINE Unsigned32 split_nibbles(const void* p) {
    const uint8x16_t bytes = load_u8(p);
    return {masked(bytes, 15), vshrq_n_u8(bytes, 4)};
}

// The nibbles' values in IQ4_NL and IQ4_XS.
LLMCORE_INLINE Bytes32 iq4_values(Unsigned32 nibbles) {
    const int8x16_t table = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    return {vqtbl1q_s8(table, nibbles.low), vqtbl1q_s8(table, nibbles.high)};
}

// 32 bits, each as a byte of ones or zeros.
LLMCORE_INLINE Unsigned32 spread_bits(uint32_t bits) {
    const uint8x16_t low = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    const uint8x16_t bytes = vreinterpretq_u8_u32(vdupq_n_u32(bits));
    return {vtstq_u8(vqtbl1q_u8(bytes, low), bit),
            vtstq_u8(vqtbl1q_u8(bytes, vaddq_u8(low, vdupq_n_u8(2))), bit)};
}

// Eight signed bytes times a factor.
LLMCORE_INLINE void scale_bytes(int8x8_t bytes, float factor, float32x4_t* to) {
    const int16x8_t wide = vmovl_s8(bytes);
    to[0] = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), factor);
    to[1] = vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(wide)), factor);
}

LLMCORE_INLINE void scale_bytes(int8x16_t bytes, float factor, float32x4_t* to) {
    scale_bytes(vget_low_s8(bytes), factor, to);
    scale_bytes(vget_high_s8(bytes), factor, to + 2);
}

}  // namespace
}  // namespace llmcore
