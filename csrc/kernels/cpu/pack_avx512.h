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

// The factor that leaves 32 floats, given relative to the largest magnitude, with the least squared error.
inline int best_factor(__m512 low, __m512 high) {
    __m512 errors[2][4];
#pragma GCC unroll 8
    for (int i = 0; i < kPackScales; ++i) {
        const __m512 scale = _mm512_set1_ps(kPackFactors[i] / 127.0F);
        const __m512 inverse = _mm512_set1_ps(127.0F / kPackFactors[i]);
        const __m512 a = _mm512_fnmadd_ps(_mm512_roundscale_ps(_mm512_mul_ps(low, inverse), 0), scale, low);
        const __m512 b = _mm512_fnmadd_ps(_mm512_roundscale_ps(_mm512_mul_ps(high, inverse), 0), scale, high);
        errors[i / 4][i % 4] = _mm512_fmadd_ps(a, a, _mm512_mul_ps(b, b));
    }
    const __m256 sums = _mm256_set_m128(four_sums(errors[1]), four_sums(errors[0]));
    __m256 least = _mm256_min_ps(sums, _mm256_permute2f128_ps(sums, sums, 1));
    least = _mm256_min_ps(least, _mm256_shuffle_ps(least, least, 0x4E));
    least = _mm256_min_ps(least, _mm256_shuffle_ps(least, least, 0xB1));
    return __builtin_ctz(static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(sums, least, _CMP_EQ_OQ))) |
                         0x80U);
}

struct PackedGroup {
    __m256i q;
    float d;
};

inline PackedGroup pack_group(const float* x) {
    __m512 low = _mm512_loadu_ps(x);
    __m512 high = _mm512_loadu_ps(x + 16);
    const uint32_t bits = largest_magnitude_bits(low, high);
    if (bits < kPackSmallest) return {_mm256_setzero_si256(), 0.0F};
    if (bits >= kPackInfinity) return {_mm256_setzero_si256(), __builtin_nanf("")};
    float largest;
    __builtin_memcpy(&largest, &bits, sizeof largest);
    // Relative to the largest, no square leaves the range of floats.
    const __m512 relative = _mm512_set1_ps(1.0F / largest);
    low = _mm512_mul_ps(low, relative);
    high = _mm512_mul_ps(high, relative);
    const __m512 inverse = _mm512_set1_ps(127.0F / kPackFactors[best_factor(low, high)]);
    const __m512 low_steps = _mm512_roundscale_ps(_mm512_mul_ps(low, inverse), 0);
    const __m512 high_steps = _mm512_roundscale_ps(_mm512_mul_ps(high, inverse), 0);
    const float products =
        _mm512_reduce_add_ps(_mm512_fmadd_ps(low, low_steps, _mm512_mul_ps(high, high_steps)));
    const float squares =
        _mm512_reduce_add_ps(_mm512_fmadd_ps(low_steps, low_steps, _mm512_mul_ps(high_steps, high_steps)));
    const __m128i low_q = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(low_steps));
    const __m128i high_q = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(high_steps));
    return {_mm256_set_m128i(high_q, low_q), largest * (products / squares)};
}

inline double pack_cost_avx512(const Shape* shape) {
    return 0.35 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

}  // namespace
}  // namespace llmcore
