// Small pieces the AVX2 kernels are made of. Included only by files compiled for AVX2.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/unrolled.h"

#if defined(__AVXVNNI__) || defined(LLMCORE_EMULATED_ISA)  // tests/cpp/isa_emulation
#define LLMCORE_AVXVNNI
#endif

namespace llmcore {
namespace {

LLMCORE_INLINE __m256i load_256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
LLMCORE_INLINE __m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

LLMCORE_INLINE void store_256(void* p, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }

LLMCORE_INLINE uint32_t load_u32(const void* p) {
    uint32_t x;
    memcpy(&x, p, 4);
    return x;
}

// Makes the compiler add into x here: reordering a chain of integer sums would spill all its terms.
LLMCORE_INLINE void fix_order(__m256i& x) { asm("" : "+x"(x)); }

LLMCORE_INLINE float sum_of(__m128 x) {
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

LLMCORE_INLINE float sum_of(__m256 x) {
    return sum_of(_mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}

// Sums of few tokens are several chains of additions: one would wait for itself.
template <int Tokens>
constexpr int kChainsOf = Tokens == 1   ? 4
                          : Tokens == 2 ? 2
                                        : 1;

template <int Chains>
LLMCORE_INLINE __m256 sum_of_chains(const __m256 (&chains)[Chains]) {
    __m256 sum = chains[0];
    for (int c = 1; c < Chains; ++c) sum = _mm256_add_ps(sum, chains[c]);
    return sum;
}

LLMCORE_INLINE int32_t sum_of(__m256i int32) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(int32), _mm256_extracti128_si256(int32, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

LLMCORE_INLINE float half_to_float(uint16_t half) { return _cvtsh_ss(half); }

// The half in all eight lanes.
LLMCORE_INLINE __m256 broadcast_half(uint16_t half) {
    return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(half)));
}

// 16 bytes of nibbles: the low ones, then the high ones. A load that repeats and a shift a lane: moving
// between halves is slow.
LLMCORE_INLINE __m256i split_nibbles(const void* p) {
    const __m256i both = _mm256_broadcastsi128_si256(load_128(p));
    const __m256i shifted = _mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    return _mm256_and_si256(shifted, _mm256_set1_epi8(15));
}

// The nibbles' values in IQ4_NL and IQ4_XS.
LLMCORE_INLINE __m256i iq4_values(__m256i nibbles) {
    const __m128i table =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles);
}

// 32 bits, each as a byte: Set (at most 127 either way) or 0.
template <int Set>
LLMCORE_INLINE __m256i spread_bits(uint32_t bits) {
    const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,  //
                                             2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit_of = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201u));
    // With the sign that a bit alone has: the highest is negative.
    constexpr uint64_t kSet = static_cast<uint8_t>(Set), kHighest = static_cast<uint8_t>(-Set);
    const __m256i signed_set =
        _mm256_set1_epi64x(static_cast<int64_t>(kSet * 0x0001010101010101u | kHighest << 56));
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), byte_of);
    return _mm256_sign_epi8(signed_set, _mm256_and_si256(bytes, bit_of));
}

// Moves every byte's bit From to bit To; the other bits of the result are not zero. Bytes share 16-bit
// shifts, so mask.
template <int From, int To>
LLMCORE_INLINE __m256i move_bits(__m256i x) {
    if constexpr (From < To) return _mm256_slli_epi16(x, To - From);
    if constexpr (From > To) return _mm256_srli_epi16(x, From - To);
    return x;
}

// Sums of pairs of products of unsigned weights (at most 128) with activations (-127 to 127), as int16.
LLMCORE_INLINE __m256i pair_products(__m256i weights, const void* act) {
    return _mm256_maddubs_epi16(weights, load_256(act));
}

// The same with signed weights, whose magnitudes and signs the caller took apart.
LLMCORE_INLINE __m256i pair_products(__m256i magnitudes, __m256i signs, const void* act) {
    return _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(load_256(act), signs));
}

// Adds the products of four neighbours, unsigned weights with activations, to each lane.
LLMCORE_INLINE __m256i add_four_products(__m256i sum, __m256i weights, __m256i act) {
#if defined(LLMCORE_AVXVNNI)
    return _mm256_dpbusd_avx_epi32(sum, weights, act);
#else
    const __m256i pairs = _mm256_maddubs_epi16(weights, act);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

}  // namespace
}  // namespace llmcore
