// Quantizes 32 or 256 floats to int8 with AVX-512.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// The largest magnitude as bits: as integers, NaN is above infinity and infinity above all numbers.
template <int kCount>
inline uint32_t largest_magnitude_bits(const float* x) {
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    __m512i largest = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int i = 0; i < kCount; i += 16)
        largest = _mm512_max_epu32(largest, _mm512_and_si512(load_bytes(x + i), magnitude));
    return _mm512_reduce_max_epu32(largest);
}

struct PackScale {
    float d;        // max|x| / 127
    float inverse;  // 127 / max|x|
};

// A group of zeros, or too small for 127 / max|x| to be finite, becomes zeros; one that holds an infinity or
// a NaN gets the scale NaN and zeros, so that what it touches is visibly not a number.
inline PackScale pack_scale(uint32_t largest_bits) {
    constexpr uint32_t kSmallest = 0x03800000;  // 2^-120
    constexpr uint32_t kInfinity = 0x7F800000;
    if (largest_bits < kSmallest) return {0.0F, 0.0F};
    if (largest_bits >= kInfinity) return {__builtin_nanf(""), 0.0F};
    float largest;
    __builtin_memcpy(&largest, &largest_bits, sizeof largest);
    return {largest / 127.0F, 127.0F / largest};
}

// 16 floats to 16 bytes, to nearest, ties to even. Lanes that are not a number become 0.
inline __m128i quantize_16(const float* x, __m512 inverse) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x), inverse);
    const __mmask16 number = _mm512_cmp_ps_mask(scaled, scaled, _CMP_ORD_Q);
    return _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(number, scaled));
}

inline double pack_cost_avx512(const Shape* shape) {
    return 0.1 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

}  // namespace
}  // namespace llmcore
