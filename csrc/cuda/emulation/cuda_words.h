// CUDA's words that need no other thread: vectors, arithmetic, bits, atomics. Blocks are emulated on one
// system thread, which changes fibers only in collectives, so that a plain read and write is atomic.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

namespace llmcore::cuda {

struct alignas(8) float2 {
    float x, y;
};
struct float3 {
    float x, y, z;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct int3 {
    int x, y, z;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct uint3 {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
struct alignas(4) ushort2 {
    unsigned short x, y;
};
struct alignas(8) ushort4 {
    unsigned short x, y, z, w;
};
struct alignas(4) char4 {
    signed char x, y, z, w;
};
struct alignas(4) uchar4 {
    unsigned char x, y, z, w;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline ushort2 make_ushort2(unsigned short x, unsigned short y) { return {x, y}; }
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z, unsigned short w) {
    return {x, y, z, w};
}
inline char4 make_char4(signed char x, signed char y, signed char z, signed char w) { return {x, y, z, w}; }
inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) {
    return {x, y, z, w};
}

inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }

inline float half_to_float(uint16_t bits) {
    const uint32_t sign = (bits & 0x8000U) << 16;
    const uint32_t rest = bits & 0x7FFFU;
    if (rest >= 0x7C00U) return __uint_as_float(sign | 0x7F800000U | (rest & 0x3FFU) << 13);
    if (rest < 0x400U) return copysignf(static_cast<float>(rest) * 0x1p-24F, __uint_as_float(sign | 1U));
    return __uint_as_float(sign | ((rest << 13) + 0x38000000U));
}

// Round to nearest even; NaN becomes CUDA's 0x7FFF.
inline uint16_t float_to_half_bits(float value) {
    uint32_t bits = __float_as_uint(value);
    const uint32_t sign = bits >> 16 & 0x8000U;
    bits &= 0x7FFFFFFFU;
    if (bits > 0x7F800000U) return 0x7FFF;
    if (bits >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);
    if (bits < 0x38800000U)  // 0.5 has steps of 2^-24, those of subnormal halves
        return static_cast<uint16_t>(sign | (__float_as_uint(__uint_as_float(bits) + 0.5F) - 0x3F000000U));
    bits += 0xFFFU + (bits >> 13 & 1U);
    return static_cast<uint16_t>(sign | (bits - 0x38000000U) >> 13);
}

inline float bf16_to_float(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }

inline uint16_t float_to_bf16(float value) {
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return 0x7FFF;
    return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

// Two bf16 in a word, the first in its low half.
inline uint32_t pack_bf16x2(float low, float high) {
    return float_to_bf16(low) | static_cast<uint32_t>(float_to_bf16(high)) << 16;
}

namespace emulation {

inline float bf16_low(uint32_t pair) { return __uint_as_float(pair << 16); }
inline float bf16_high(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000U); }

// a b + c, where a b is exact, to a float rounded to odd: rounding that to bf16 is as rounding once.
inline float fma_to_odd(float a, float b, float c) {
    const double product = static_cast<double>(a) * b;
    const double sum = product + c;
    const double back = sum - product;
    const double error = (product - (sum - back)) + (c - back);  // Knuth's TwoSum
    const float nearest = static_cast<float>(sum);
    if (!isfinite(nearest)) return nearest;
    const double rest = (sum - nearest) + error;
    if (rest == 0.0 || (__float_as_uint(nearest) & 1U) != 0) return nearest;
    return nextafterf(nearest, rest > 0.0 ? INFINITY : -INFINITY);
}

inline uint32_t fma_pair(uint32_t a, uint32_t b, uint32_t c) {
    return pack_bf16x2(fma_to_odd(bf16_low(a), bf16_low(b), bf16_low(c)),
                       fma_to_odd(bf16_high(a), bf16_high(b), bf16_high(c)));
}

}  // namespace emulation

inline uint32_t bf16x2_sub(uint32_t a, uint32_t b) { return emulation::fma_pair(b, 0xBF80BF80U, a); }
inline uint32_t bf16x2_mul(uint32_t a, uint32_t b) { return emulation::fma_pair(a, b, 0x80008000U); }
inline uint32_t bf16x2_fma(uint32_t a, uint32_t b, uint32_t c) { return emulation::fma_pair(a, b, c); }

#define LLMCORE_MIN_MAX(type)                                 \
    inline type min(type a, type b) { return b < a ? b : a; } \
    inline type max(type a, type b) { return a < b ? b : a; }
LLMCORE_MIN_MAX(int)
LLMCORE_MIN_MAX(unsigned)
LLMCORE_MIN_MAX(long)
LLMCORE_MIN_MAX(unsigned long)
LLMCORE_MIN_MAX(long long)
LLMCORE_MIN_MAX(unsigned long long)
#undef LLMCORE_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline float rsqrtf(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __tanhf(float x) { return tanhf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __frcp_rn(float a) { return 1.0F / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return rsqrtf(a); }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0F), 1.0F); }

inline float __int2float_rn(int value) { return static_cast<float>(value); }
inline float __uint2float_rn(unsigned value) { return static_cast<float>(value); }
// As cvt.rni: saturated, and 0 for NaN.
inline int __float2int_rn(float value) {
    if (isnan(value)) return 0;
    if (value >= 0x1p31F) return INT32_MAX;
    if (value < -0x1p31F) return INT32_MIN;
    return static_cast<int>(nearbyintf(value));
}

inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __popcll(unsigned long long bits) { return std::popcount(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __clzll(long long bits) { return std::countl_zero(static_cast<unsigned long long>(bits)); }
inline int __ffs(int bits) { return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}

// Byte i of the result is byte (selector >> 4 i) & 7 of y:x; with bit 3, that byte's sign.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const uint64_t both = static_cast<uint64_t>(y) << 32 | x;
    unsigned result = 0;
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned select = selector >> (4 * i) & 0xFU;
        unsigned byte = static_cast<unsigned>(both >> (8 * (select & 7U))) & 0xFFU;
        if ((select & 8U) != 0) byte = (byte & 0x80U) != 0 ? 0xFFU : 0;
        result |= byte << (8 * i);
    }
    return result;
}

inline int __dp4a(int a, int b, int c) {
    int sum = 0;
    for (int i = 0; i < 4; ++i)
        sum += static_cast<int8_t>(static_cast<unsigned>(a) >> (8 * i)) *
               static_cast<int8_t>(static_cast<unsigned>(b) >> (8 * i));
    return static_cast<int>(static_cast<unsigned>(c) + static_cast<unsigned>(sum));
}

template <class T>
T __ldg(const T* from) {
    return *from;
}
template <class T>
T __ldcg(const T* from) {
    return *from;
}
template <class T>
T __ldcs(const T* from) {
    return *from;
}
template <class T>
void __stcg(T* to, T value) {
    *to = value;
}
template <class T>
void __stcs(T* to, T value) {
    *to = value;
}

inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T atomicExch(T* at, std::type_identity_t<T> value) {
    const T before = *at;
    *at = value;
    return before;
}
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    const T before = *at;
    if (before == expected) *at = value;
    return before;
}
// Integers wrap around.
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
    static_assert(sizeof(T) >= 4);
    if constexpr (std::is_integral_v<T>) {
        using Unsigned = std::make_unsigned_t<T>;
        return atomicExch(at, static_cast<T>(static_cast<Unsigned>(*at) + static_cast<Unsigned>(value)));
    } else {
        return atomicExch(at, *at + value);
    }
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> value) {
    static_assert(std::is_integral_v<T>);
    return atomicExch(at, *at < value ? value : *at);
}
template <class T>
T atomicMin(T* at, std::type_identity_t<T> value) {
    static_assert(std::is_integral_v<T>);
    return atomicExch(at, value < *at ? value : *at);
}
inline unsigned atomicOr(unsigned* at, unsigned value) { return atomicExch(at, *at | value); }
inline unsigned atomicAnd(unsigned* at, unsigned value) { return atomicExch(at, *at & value); }

}  // namespace llmcore::cuda
