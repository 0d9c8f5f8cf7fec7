// Sixteen floats: what the kernels of norm, rope, glu, kv_store and attention are written in.
// vector_avx2.h has the same with eight. Included only by files compiled for AVX-512.
#pragma once

// GCC 12 takes the deliberately undefined sources of its own unmasked intrinsics for a mistake (bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
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
    static constexpr int kLanes = 16;
    static constexpr int kQueryTile = 4;  // attention: queries that share a key in registers
    __m512 v;

    static LLMCORE_INLINE Vec set(float x) { return {_mm512_set1_ps(x)}; }
    static LLMCORE_INLINE Vec set_half(uint16_t half) {
        return {_mm512_cvtph_ps(_mm256_set1_epi16(static_cast<short>(half)))};
    }
    static LLMCORE_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static LLMCORE_INLINE Vec load(const uint16_t* halves) {
        return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)))};
    }
    static LLMCORE_INLINE Vec load(const Bf16* p) {
        const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return {_mm512_castsi512_ps(_mm512_slli_epi32(high, 16))};
    }
    static LLMCORE_INLINE Vec load(const int8_t* p) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
    }
    // Of kLanes bytes, the low halves and the high ones.
    static LLMCORE_INLINE void load_nibbles(const uint8_t* p, Vec* low, Vec* high) {
        const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        low->v = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)));
        high->v = _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
    }
    // The first n (at most kLanes) floats, then zeros; does not read further.
    static LLMCORE_INLINE Vec load_first(const float* p, int64_t n) {
        return {_mm512_maskz_loadu_ps(first(n), p)};
    }

    LLMCORE_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
    LLMCORE_INLINE void store(uint16_t* halves) const {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves),
                            _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    // To nearest, ties to even; what is not a number stays so.
    LLMCORE_INLINE void store(Bf16* p) const {
        const __m512i bits = _mm512_castps_si512(v);
        const __m512i high = _mm512_srli_epi32(bits, 16);
        const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
        const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
        const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        const __m512i words =
            _mm512_mask_or_epi32(_mm512_srli_epi32(up, 16), is_nan, high, _mm512_set1_epi32(0x40));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
    }
    // Whole numbers of -128 to 127, and of 0 to 255.
    LLMCORE_INLINE void store(int8_t* p) const {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
    }
    LLMCORE_INLINE void store(uint8_t* p) const {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
    }
    LLMCORE_INLINE void store_first(float* p, int64_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }
    // Each lane twice: 32 floats.
    LLMCORE_INLINE void store_twice(float* p) const {
        const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        const __m512i high = _mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
        _mm512_storeu_ps(p, _mm512_permutexvar_ps(low, v));
        _mm512_storeu_ps(p + 16, _mm512_permutexvar_ps(high, v));
    }

    LLMCORE_INLINE float sum() const { return _mm512_reduce_add_ps(v); }
    LLMCORE_INLINE float maximum() const { return _mm512_reduce_max_ps(v); }

private:
    static LLMCORE_INLINE __mmask16 first(int64_t n) {
        return static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(n)));
    }
};

LLMCORE_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
LLMCORE_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
// If one is not a number, the result is b.
LLMCORE_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec magnitude(Vec a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
LLMCORE_INLINE Vec with_sign_of(Vec magnitude, Vec sign) {
    return {_mm512_or_ps(magnitude.v, _mm512_and_ps(sign.v, _mm512_set1_ps(-0.0f)))};
}
LLMCORE_INLINE Vec nearest_integer(Vec a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// x * 2^n for integers n.
LLMCORE_INLINE Vec times_power_of_two(Vec x, Vec n) { return {_mm512_scalef_ps(x.v, n.v)}; }

// value where x >= least, 0 elsewhere.
LLMCORE_INLINE Vec where_at_least(Vec x, Vec least, Vec value) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, least.v, _CMP_GE_OQ), value.v)};
}

// x * 2^n for integers n of -126 to 127; 0 for -127.
LLMCORE_INLINE Vec times_normal_power_of_two(Vec x, Vec n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
    return {_mm512_mul_ps(x.v, _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23)))};
}

// Pairs (even, odd) of x turned by angles whose cosines and sines stand in both lanes of a pair.
LLMCORE_INLINE Vec turn_pairs(Vec x, Vec cosine, Vec sine) {
    const __m512 swapped = _mm512_permute_ps(x.v, 0xB1);
    return {_mm512_fmaddsub_ps(x.v, cosine.v, _mm512_mul_ps(swapped, sine.v))};
}

// An angle as quarter turns and what is left, at most an eighth turn either way.
struct Angle {
    Vec rest, quarter_cosine, quarter_sine;
};

LLMCORE_INLINE __m512d rest_of_quarters(__m512d angle, __m256i* quarters) {
    const __m512d n = _mm512_roundscale_pd(_mm512_mul_pd(angle, _mm512_set1_pd(0.63661977236758134308)),
                                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    *quarters = _mm512_cvtpd_epi32(n);
    angle = _mm512_fnmadd_pd(n, _mm512_set1_pd(1.5707963267948965580),
                             angle);  // pi / 2, then what double lost of it
    return _mm512_fnmadd_pd(n, _mm512_set1_pd(6.1232339957367658e-17), angle);
}

LLMCORE_INLINE Angle angle_of(int32_t position, Vec inv_freq) {
    const __m512d p = _mm512_set1_pd(position);
    __m256i q0, q1;
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(inv_freq.v));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(inv_freq.v, 1));
    const __m256 r0 = _mm512_cvtpd_ps(rest_of_quarters(_mm512_mul_pd(p, low), &q0));
    const __m256 r1 = _mm512_cvtpd_ps(rest_of_quarters(_mm512_mul_pd(p, high), &q1));
    const __m512i quarter = _mm512_inserti32x8(_mm512_castsi256_si512(q0), q1, 1);
    const __m512i index = _mm512_and_si512(quarter, _mm512_set1_epi32(3));
    const __m512 cosines = _mm512_setr_ps(1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512 sines = _mm512_setr_ps(0, 1, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return {{_mm512_insertf32x8(_mm512_castps256_ps512(r0), r1, 1)},
            {_mm512_permutexvar_ps(index, cosines)},
            {_mm512_permutexvar_ps(index, sines)}};
}

// The sums of four vectors' lanes.
LLMCORE_INLINE void store_sums(Vec a, Vec b, Vec c, Vec d, float* out) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a.v, b.v), _mm512_unpackhi_ps(a.v, b.v));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c.v, d.v), _mm512_unpackhi_ps(c.v, d.v));
    const __m512 sums = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    const __m256 x = _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps(sums, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

}  // namespace
}  // namespace llmcore
