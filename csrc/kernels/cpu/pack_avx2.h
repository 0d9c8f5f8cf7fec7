// Rounds 32 floats to int8.
#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

LLMCORE_INLINE __m256 magnitude(__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }

LLMCORE_INLINE float maximum_of(__m256 x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

// The largest magnitude of n floats, a multiple of 32.
LLMCORE_INLINE float largest_magnitude(const float* x, int n) {
    __m256 largest = _mm256_setzero_ps();
    for (int i = 0; i < n; i += 8) largest = _mm256_max_ps(largest, magnitude(_mm256_loadu_ps(x + i)));
    return maximum_of(largest);
}

// What turns floats into -127 to 127. Magnitudes whose reciprocal is no float become zeros.
LLMCORE_INLINE float inverse_scale(float largest) { return largest > 1e-36f ? 127.0f / largest : 0.0f; }

LLMCORE_INLINE __m256i rounded_epi32(const float* x, __m256 inverse) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));  // nearest, ties to even
}

// 32 floats as int8, in order.
LLMCORE_INLINE __m256i rounded_epi8(const float* x, float inverse_of_scale) {
    const __m256 inverse = _mm256_set1_ps(inverse_of_scale);
    const __m256i ab = _mm256_packs_epi32(rounded_epi32(x, inverse), rounded_epi32(x + 8, inverse));
    const __m256i cd = _mm256_packs_epi32(rounded_epi32(x + 16, inverse), rounded_epi32(x + 24, inverse));
    // Packing works within 128-bit halves: put the groups of four back in order.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), order);
}

// Sums of pairs of int8 as int16.
LLMCORE_INLINE __m256i pair_sums(__m256i q) { return _mm256_maddubs_epi16(_mm256_set1_epi8(1), q); }

LLMCORE_INLINE int32_t sum_of_epi32(__m128i x) {
    x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
    return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 1)));
}

LLMCORE_INLINE void clear(char* from, const char* to) { memset(from, 0, static_cast<size_t>(to - from)); }

}  // namespace
}  // namespace llmcore
