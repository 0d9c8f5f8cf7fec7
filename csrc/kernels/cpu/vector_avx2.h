// Eight floats: what the kernels of norm, rope, glu, kv_store and attention are written in.
// vector_avx512.h has the same with sixteen. Included only by files compiled for AVX2.
#pragma once

#include <immintrin.h>
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
    static constexpr int kLanes = 8;
    static constexpr int kQueryTile = 2;  // attention: queries that share a key in registers
    __m256 v;

    static LLMCORE_INLINE Vec set(float x) { return {_mm256_set1_ps(x)}; }
    static LLMCORE_INLINE Vec set_half(uint16_t half) {
        return {_mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(half)))};
    }
    static LLMCORE_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static LLMCORE_INLINE Vec load(const uint16_t* halves) {
        return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)))};
    }
    static LLMCORE_INLINE Vec load(const Bf16* p) {
        const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return {_mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
    }
    static LLMCORE_INLINE Vec load(const int8_t* p) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
        return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))};
    }
    // Of kLanes bytes, the low halves and the high ones.
    static LLMCORE_INLINE void load_nibbles(const uint8_t* p, Vec* low, Vec* high) {
        const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
        low->v = _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15)));
        high->v = _mm256_cvtepi32_ps(_mm256_srli_epi32(bytes, 4));
    }
    // The first n (at most kLanes) floats, then zeros; does not read further.
    static LLMCORE_INLINE Vec load_first(const float* p, int64_t n) {
        return {_mm256_maskload_ps(p, first(n))};
    }

    LLMCORE_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
    LLMCORE_INLINE void store(uint16_t* halves) const {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(halves), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    }
    // To nearest, ties to even; what is not a number stays so.
    LLMCORE_INLINE void store(Bf16* p) const {
        const __m256i bits = _mm256_castps_si256(v);
        const __m256i high = _mm256_srli_epi32(bits, 16);
        const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
        const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
        const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
        const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        const __m256i words = _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, is_nan);
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
    }
    // Whole numbers of -128 to 127, and of 0 to 255.
    LLMCORE_INLINE void store(int8_t* p) const {
        const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v), _mm256_setzero_si256());
        store_bytes(p, _mm256_packs_epi16(words, words));
    }
    LLMCORE_INLINE void store(uint8_t* p) const {
        const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v), _mm256_setzero_si256());
        store_bytes(p, _mm256_packus_epi16(words, words));
    }
    LLMCORE_INLINE void store_first(float* p, int64_t n) const { _mm256_maskstore_ps(p, first(n), v); }
    // Each lane twice: 16 floats.
    LLMCORE_INLINE void store_twice(float* p) const {
        const __m256 low = _mm256_unpacklo_ps(v, v);
        const __m256 high = _mm256_unpackhi_ps(v, v);
        _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
        _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
    }

    LLMCORE_INLINE float sum() const {
        __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
    }
    LLMCORE_INLINE float maximum() const {
        __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
    }

private:
    // The first four bytes of each half.
    static LLMCORE_INLINE void store_bytes(void* p, __m256i bytes) {
        const __m128i both =
            _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
        _mm_storel_epi64(static_cast<__m128i*>(p), both);
    }
    static LLMCORE_INLINE __m256i first(int64_t n) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                                  _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }
};

LLMCORE_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
LLMCORE_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
// If one is not a number, the result is b.
LLMCORE_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
LLMCORE_INLINE Vec magnitude(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
LLMCORE_INLINE Vec with_sign_of(Vec magnitude, Vec sign) {
    return {_mm256_or_ps(magnitude.v, _mm256_and_ps(sign.v, _mm256_set1_ps(-0.0f)))};
}
LLMCORE_INLINE Vec nearest_integer(Vec a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// x * 2^n for integers n of -200 to 200. Two factors, so that subnormal results and infinity come out right.
LLMCORE_INLINE Vec times_power_of_two(Vec x, Vec n) {
    const __m256i exponent = _mm256_cvtps_epi32(n.v);
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    const __m256i rest = _mm256_sub_epi32(exponent, half);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    const __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return {_mm256_mul_ps(_mm256_mul_ps(x.v, a), b)};
}

// value where x >= least, 0 elsewhere.
LLMCORE_INLINE Vec where_at_least(Vec x, Vec least, Vec value) {
    return {_mm256_and_ps(_mm256_cmp_ps(x.v, least.v, _CMP_GE_OQ), value.v)};
}

// x * 2^n for integers n of -126 to 127; 0 for -127.
LLMCORE_INLINE Vec times_normal_power_of_two(Vec x, Vec n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_mul_ps(x.v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))};
}

// Pairs (even, odd) of x turned by angles whose cosines and sines stand in both lanes of a pair.
LLMCORE_INLINE Vec turn_pairs(Vec x, Vec cosine, Vec sine) {
    const __m256 swapped = _mm256_permute_ps(x.v, 0xB1);
    return {_mm256_fmaddsub_ps(x.v, cosine.v, _mm256_mul_ps(swapped, sine.v))};
}

// An angle as quarter turns and what is left, at most an eighth turn either way.
struct Angle {
    Vec rest, quarter_cosine, quarter_sine;
};

LLMCORE_INLINE __m256d rest_of_quarters(__m256d angle, __m128i* quarters) {
    const __m256d n = _mm256_round_pd(_mm256_mul_pd(angle, _mm256_set1_pd(0.63661977236758134308)),
                                      _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    *quarters = _mm256_cvtpd_epi32(n);
    angle = _mm256_fnmadd_pd(n, _mm256_set1_pd(1.5707963267948965580),
                             angle);  // pi / 2, then what double lost of it
    return _mm256_fnmadd_pd(n, _mm256_set1_pd(6.1232339957367658e-17), angle);
}

LLMCORE_INLINE Angle angle_of(int32_t position, Vec inv_freq) {
    const __m256d p = _mm256_set1_pd(position);
    __m128i q0, q1;
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(inv_freq.v));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(inv_freq.v, 1));
    const __m128 r0 = _mm256_cvtpd_ps(rest_of_quarters(_mm256_mul_pd(p, low), &q0));
    const __m128 r1 = _mm256_cvtpd_ps(rest_of_quarters(_mm256_mul_pd(p, high), &q1));
    const __m256i quarter = _mm256_and_si256(_mm256_set_m128i(q1, q0), _mm256_set1_epi32(3));
    const __m256 cosines = _mm256_setr_ps(1, 0, -1, 0, 0, 0, 0, 0);
    const __m256 sines = _mm256_setr_ps(0, 1, 0, -1, 0, 0, 0, 0);
    return {{_mm256_set_m128(r1, r0)},
            {_mm256_permutevar8x32_ps(cosines, quarter)},
            {_mm256_permutevar8x32_ps(sines, quarter)}};
}

// The sums of four vectors' lanes.
LLMCORE_INLINE void store_sums(Vec a, Vec b, Vec c, Vec d, float* out) {
    const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a.v, b.v), _mm256_hadd_ps(c.v, d.v));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

}  // namespace
}  // namespace llmcore
