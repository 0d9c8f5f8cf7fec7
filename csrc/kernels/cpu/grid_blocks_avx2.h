// Weights of IQ2 and IQ3: vectors from a grid, signs, and odd scales. Bytes are kOffset plus the weight,
// which the activations' sums take off again.
#pragma once

#include "kernels/cpu/linear_expanded_avx2.h"
#include "quant/grids.h"

namespace llmcore {
namespace {

LLMCORE_INLINE uint64_t load_u64(const void* p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

LLMCORE_INLINE __m256i join_vectors(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return _mm256_setr_epi64x(static_cast<int64_t>(a), static_cast<int64_t>(b), static_cast<int64_t>(c),
                              static_cast<int64_t>(d));
}

LLMCORE_INLINE uint64_t join_fours(uint32_t a, uint32_t b) { return a | static_cast<uint64_t>(b) << 32; }

// offset + value, negative where a bit of `signs` is set.
LLMCORE_INLINE __m256i apply_signs(__m256i values, uint32_t signs, char offset) {
    const __m256i negative = spread_bits<-1>(signs);
    const __m256i value = _mm256_sub_epi8(_mm256_xor_si256(values, negative), negative);
    return _mm256_add_epi8(value, _mm256_set1_epi8(offset));
}

// Bytes of seven signs with the eighth, which makes the number of negative ones even.
LLMCORE_INLINE __m256i add_eighth_sign(__m256i seven) {
    const __m256i odd = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    const __m256i folded = _mm256_xor_si256(seven, _mm256_srli_epi16(seven, 4));
    const __m256i nibbles = _mm256_and_si256(folded, _mm256_set1_epi8(15));
    return _mm256_or_si256(seven, _mm256_shuffle_epi8(odd, nibbles));
}

// Eight words of four times 7 signs: 32 signs each.
LLMCORE_INLINE __m256i unpack_signs(__m256i words) {
    const __m256i a = _mm256_and_si256(words, _mm256_set1_epi32(0x0000007F));
    const __m256i b = _mm256_and_si256(_mm256_slli_epi32(words, 1), _mm256_set1_epi32(0x00007F00));
    const __m256i c = _mm256_and_si256(_mm256_slli_epi32(words, 2), _mm256_set1_epi32(0x007F0000));
    const __m256i d = _mm256_and_si256(_mm256_slli_epi32(words, 3), _mm256_set1_epi32(0x7F000000));
    return add_eighth_sign(_mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d)));
}

// Eight integers, for 32 weights each.
LLMCORE_INLINE Scales scales_for_32(__m256i eight) {
    return {_mm256_permute4x64_epi64(_mm256_packs_epi32(eight, eight), 0x88),
            _mm256_or_si256(eight, _mm256_slli_epi32(eight, 16))};
}

// 2 * nibble + 1 for 16 weights each, the low nibbles first.
LLMCORE_INLINE Scales scales_for_16(uint64_t nibbles) {
    const __m128i bytes = _mm_cvtsi64_si128(static_cast<int64_t>(nibbles));
    const __m128i both = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));
    const __m128i four = _mm_and_si128(both, _mm_set1_epi8(15));
    const __m128i odd = _mm_add_epi8(_mm_add_epi8(four, four), _mm_set1_epi8(1));
    return {scales_of_16(odd), _mm256_cvtepi8_epi16(odd)};
}

}  // namespace
}  // namespace llmcore
