// The smaller grids of IQ2 and IQ3, looked up 32 indices at a time: their codes fit in a few tables of 64,
// each of which one permutation reads, and codes become bytes by a shift and another permutation.
#pragma once

#include "kernels/cpu/simd_avx512.h"
#include "quant/grids.h"

namespace llmcore {
namespace {

// The codes of 32 indices, as 16-bit lanes; what an index has above log2(kSize) bits does not matter.
template <int kSize>
[[gnu::always_inline]] inline __m512i look_up_codes(const uint16_t* codes, __m512i index) {
    if constexpr (kSize == 64) {
        return _mm512_permutex2var_epi16(_mm512_load_si512(codes), index, _mm512_load_si512(codes + 32));
    } else {
        const __m512i lower = look_up_codes<kSize / 2>(codes, index);
        const __m512i upper = look_up_codes<kSize / 2>(codes + kSize / 2, index);
        const __mmask32 is_upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16(kSize / 2));
        return _mm512_mask_blend_epi16(is_upper, lower, upper);
    }
}

struct Bytes64 {
    alignas(64) uint8_t of[64];
};

// Brings `stride` bytes from `first` on to each group of eight.
constexpr Bytes64 spread_order(int first, int stride) {
    Bytes64 order = {};
    for (int i = 0; i < 64; ++i) order.of[i] = static_cast<uint8_t>(first + i / 8 * stride + i % stride);
    return order;
}

// `offset` plus the values, repeated: a lookup then needs none of the bits above the code cleared.
template <int kValues>
constexpr Bytes64 value_table(const uint8_t (&values)[kValues], int offset) {
    Bytes64 table = {};
    for (int i = 0; i < 64; ++i) table.of[i] = static_cast<uint8_t>(offset + values[i % kValues]);
    return table;
}

template <int kOffset>
struct Values {
    static constexpr uint8_t kIQ2[4] = {8, 25, 43, 0};
    static constexpr uint8_t kIQ3_XXS[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    static constexpr uint8_t kIQ3_S[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    static constexpr Bytes64 kTableIQ2 = value_table(kIQ2, kOffset);
    static constexpr Bytes64 kTableIQ3_XXS = value_table(kIQ3_XXS, kOffset);
    static constexpr Bytes64 kTableIQ3_S = value_table(kIQ3_S, kOffset);
};

// Weights 64 * kPart and up of 32 codes of eight 2-bit values.
template <int kPart>
[[gnu::always_inline]] inline __m512i spread_eights(__m512i codes, const Bytes64& values) {
    static constexpr Bytes64 kOrder = spread_order(16 * kPart, 2);
    const __m512i bits = _mm512_set1_epi64(0x0E0C0A0806040200);
    const __m512i eights = _mm512_permutexvar_epi8(_mm512_load_si512(kOrder.of), codes);
    return _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(bits, eights), _mm512_load_si512(values.of));
}

// Weights 64 * kPart and up of 32 codes of four 3-bit values.
template <int kPart>
[[gnu::always_inline]] inline __m512i spread_fours(__m512i codes, const Bytes64& values) {
    static constexpr Bytes64 kOrder = spread_order(32 * kPart, 4);
    const __m512i bits = _mm512_set1_epi64(0x1916131009060300);
    const __m512i fours = _mm512_permutexvar_epi8(_mm512_load_si512(kOrder.of), codes);
    return _mm512_permutexvar_epi8(_mm512_multishift_epi64_epi8(bits, fours), _mm512_load_si512(values.of));
}

// offset + value becomes offset - value where a bit of `negative` is set.
template <int kOffset>
[[gnu::always_inline]] inline __m512i apply_signs(__m512i bytes, uint64_t negative) {
    return _mm512_mask_sub_epi8(bytes, static_cast<__mmask64>(negative),
                                _mm512_set1_epi8(static_cast<char>(2 * kOffset)), bytes);
}

// Bytes of seven signs with the eighth, which makes the number of negative ones even.
inline __m256i add_eighth_sign(__m256i seven) {
    const __m256i odd = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    const __m256i folded = _mm256_xor_si256(seven, _mm256_srli_epi16(seven, 4));
    return _mm256_or_si256(seven, _mm256_shuffle_epi8(odd, _mm256_and_si256(folded, _mm256_set1_epi8(0x0F))));
}

// Eight words of four times 7 signs and, on top, 4 bits of scale.
struct SignedScales {
    alignas(32) uint64_t negative[4];
    __m256i scales;  // 2 * scale + 1, int16, a unit each

    [[gnu::always_inline]] explicit SignedScales(__m256i words) {
        const __m256i bits = _mm256_set1_epi64x(0x352E2720150E0700);
        const __m256i seven =
            _mm256_and_si256(_mm256_multishift_epi64_epi8(bits, words), _mm256_set1_epi8(0x7F));
        _mm256_store_si256(reinterpret_cast<__m256i*>(negative), add_eighth_sign(seven));
        const __m256i odd = _mm256_or_si256(_mm256_srli_epi32(words, 27), _mm256_set1_epi32(1));
        scales = _mm256_or_si256(odd, _mm256_slli_epi32(odd, 16));
    }
};

// Sixteen nibbles, the low ones first, as 2 * nibble + 1 in int16.
inline __m256i odd_scales(uint64_t nibbles) {
    const __m128i bytes = _mm_cvtsi64_si128(static_cast<int64_t>(nibbles));
    const __m128i both = _mm_unpacklo_epi8(bytes, _mm_srli_epi16(bytes, 4));
    const __m256i words = _mm256_cvtepu8_epi16(_mm_and_si128(both, _mm_set1_epi8(0x0F)));
    return _mm256_add_epi16(_mm256_slli_epi16(words, 1), _mm256_set1_epi16(1));
}

}  // namespace
}  // namespace llmcore
