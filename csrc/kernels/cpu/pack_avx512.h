// Quantizes 32 floats to int8 with AVX-512.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// The largest magnitude of 32 floats as bits: as integers, NaN is above infinity and infinity above all
// numbers.
inline uint32_t largest_magnitude_bits(__m512 low, __m512 high) {
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    return _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), magnitude),
                                                    _mm512_and_si512(_mm512_castps_si512(high), magnitude)));
}

// Lane i: the sum of the 16 lanes of e[i].
inline __m128 four_sums(const __m512 (&e)[4]) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(e[0], e[1]), _mm512_unpackhi_ps(e[0], e[1]));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(e[2], e[3]), _mm512_unpackhi_ps(e[2], e[3]));
    const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

// The scale of 32 finite floats with the largest magnitude `largest`.
inline float best_scale(__m512 low, __m512 high, float largest) {
    // Relative to the largest, so that no square leaves the range of floats.
    const __m512 relative = _mm512_set1_ps(1.0F / largest);
    low = _mm512_mul_ps(low, relative);
    high = _mm512_mul_ps(high, relative);
    __m512 errors[kPackScales];
#pragma GCC unroll 4
    for (int i = 0; i < kPackScales; ++i) {
        const __m512 scale = _mm512_set1_ps(kPackFactors[i] / 127.0F);
        const __m512 inverse = _mm512_set1_ps(127.0F / kPackFactors[i]);
        const __m512 a = _mm512_fnmadd_ps(_mm512_roundscale_ps(_mm512_mul_ps(low, inverse), 0), scale, low);
        const __m512 b = _mm512_fnmadd_ps(_mm512_roundscale_ps(_mm512_mul_ps(high, inverse), 0), scale, high);
        errors[i] = _mm512_fmadd_ps(a, a, _mm512_mul_ps(b, b));
    }
    const __m128 sums = four_sums(errors);
    __m128 least = _mm_min_ps(sums, _mm_shuffle_ps(sums, sums, 0xB1));
    least = _mm_min_ps(least, _mm_shuffle_ps(least, least, 0x4E));
    const int best = __builtin_ctz(static_cast<unsigned>(_mm_movemask_ps(_mm_cmpeq_ps(sums, least))) | 8U);
    return largest / 127.0F * kPackFactors[best];
}

// A group of zeros, or too small for 127 / max|x| to be finite, becomes zeros; one that holds an infinity or
// a NaN gets the scale NaN and zeros, so that what it touches is visibly not a number.
inline float pack_scale(__m512 low, __m512 high) {
    constexpr uint32_t kSmallest = 0x03800000;  // 2^-120
    constexpr uint32_t kInfinity = 0x7F800000;
    const uint32_t bits = largest_magnitude_bits(low, high);
    if (bits < kSmallest) return 0.0F;
    if (bits >= kInfinity) return __builtin_nanf("");
    float largest;
    __builtin_memcpy(&largest, &bits, sizeof largest);
    return best_scale(low, high, largest);
}

// 16 floats to 16 bytes, to nearest, ties to even. Lanes that are not a number become 0.
inline __m128i quantize_16(__m512 x, __m512 inverse) {
    const __m512 scaled = _mm512_mul_ps(x, inverse);
    const __mmask16 number = _mm512_cmp_ps_mask(scaled, scaled, _CMP_ORD_Q);
    return _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(number, scaled));
}

inline double pack_cost_avx512(const Shape* shape) {
    return 0.2 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

}  // namespace
}  // namespace llmcore
