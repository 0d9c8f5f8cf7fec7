// Rounds 32 floats to int8.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

// The largest magnitude of 32 floats as bits: NaN is above infinity, infinity above all numbers.
LLMCORE_INLINE uint32_t largest_magnitude_bits(const float* x) {
    __m256i largest = _mm256_setzero_si256();
    for (int i = 0; i < 32; i += 8) {
        const __m256i magnitude = _mm256_and_si256(load_256(x + i), _mm256_set1_epi32(0x7FFFFFFF));
        largest = _mm256_max_epu32(largest, magnitude);
    }
    __m128i most = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    most = _mm_max_epu32(most, _mm_unpackhi_epi64(most, most));
    most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
}

// The squared error of 32 floats, relative to the largest, at one of the scales.
LLMCORE_INLINE float pack_error(const __m256 (&x)[4], float factor) {
    const __m256 scale = _mm256_set1_ps(factor / 127);
    const __m256 inverse = _mm256_set1_ps(127 / factor);
    __m256 total = _mm256_setzero_ps();
    for (const __m256 v : x) {
        const __m256 rounded = _mm256_round_ps(_mm256_mul_ps(v, inverse), _MM_FROUND_TO_NEAREST_INT);
        const __m256 off = _mm256_fnmadd_ps(rounded, scale, v);
        total = _mm256_fmadd_ps(off, off, total);
    }
    return sum_of(total);
}

// 32 whole numbers within int8, in order.
LLMCORE_INLINE __m256i to_epi8(const __m256 (&steps)[4]) {
    const __m256i ab = _mm256_packs_epi32(_mm256_cvtps_epi32(steps[0]), _mm256_cvtps_epi32(steps[1]));
    const __m256i cd = _mm256_packs_epi32(_mm256_cvtps_epi32(steps[2]), _mm256_cvtps_epi32(steps[3]));
    // Packing works within 128-bit halves: put the groups of four back in order.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), order);
}

struct PackedGroup {
    __m256i q;
    float d;
};

LLMCORE_INLINE PackedGroup pack_group(const float* x) {
    const uint32_t bits = largest_magnitude_bits(x);
    if (bits < kPackSmallest) return {_mm256_setzero_si256(), 0};
    if (bits >= kPackInfinity) return {_mm256_setzero_si256(), __builtin_nanf("")};
    float largest;
    memcpy(&largest, &bits, 4);
    // Relative to the largest, no square leaves the range of floats.
    const __m256 relative = _mm256_set1_ps(1 / largest);
    __m256 v[4];
    for (int i = 0; i < 4; ++i) v[i] = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), relative);
    float best = kPackFactors[0];
    float least = pack_error(v, best);
    for (int i = 1; i < kPackScales; ++i) {
        const float error = pack_error(v, kPackFactors[i]);
        best = error < least ? kPackFactors[i] : best;
        least = error < least ? error : least;
    }
    const __m256 inverse = _mm256_set1_ps(127 / best);
    __m256 steps[4];
    __m256 products = _mm256_setzero_ps();
    __m256 squares = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) {
        steps[i] = _mm256_round_ps(_mm256_mul_ps(v[i], inverse), _MM_FROUND_TO_NEAREST_INT);
        products = _mm256_fmadd_ps(v[i], steps[i], products);
        squares = _mm256_fmadd_ps(steps[i], steps[i], squares);
    }
    return {to_epi8(steps), largest * (sum_of(products) / sum_of(squares))};
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
