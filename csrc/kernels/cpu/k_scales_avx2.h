// What Q4_K and Q5_K have in common: a super-block's first 16 bytes.
#pragma once

#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

// The halves d and dmin, then eight scales and eight minimums of 6 bits in 12 bytes (k_scales.h says where).
struct SuperBlockHead {
    __m256i scales;  // eight int16, in both halves
    __m256i bias;    // minimums, each twice: one of 32 weights meets two sums of 16 activations
    float d, dmin;

    explicit LLMCORE_INLINE SuperBlockHead(const void* first) {
        const __m128i packed = load_128(first);
        const __m128 halves = _mm_cvtph_ps(packed);
        d = _mm_cvtss_f32(halves);
        dmin = _mm_cvtss_f32(_mm_movehdup_ps(halves));
        const __m128i both = unpack(packed);
        scales = _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(both));
        bias = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(both, both));
    }

    // The same as floats.
    static LLMCORE_INLINE GroupScales open(const void* first) {
        const __m128i packed = load_128(first);
        const __m256 halves = _mm256_castpd_ps(_mm256_broadcastsd_pd(_mm_castps_pd(_mm_cvtph_ps(packed))));
        const __m128i both = unpack(packed);
        const __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(both));
        const __m256 minimums = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(both, both)));
        return {_mm256_mul_ps(scales, _mm256_moveldup_ps(halves)),
                _mm256_mul_ps(minimums, _mm256_xor_ps(_mm256_movehdup_ps(halves), _mm256_set1_ps(-0.0F)))};
    }

private:
    static LLMCORE_INLINE __m128i unpack(__m128i packed) {
        // Scales 0 to 3, 4 to 7, minimums 0 to 3, 4 to 7: low bits, then the upper pairs of every second
        // four.
        const __m128i lows =
            _mm_shuffle_epi8(packed, _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
        const __m128i highs =
            _mm_shuffle_epi8(packed, _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
        const __m128i low_masks = _mm_setr_epi32(0x3F3F3F3F, 0x0F0F0F0F, 0x3F3F3F3F, 0x0F0F0F0F);
        const __m128i low = _mm_and_si128(_mm_srlv_epi32(lows, _mm_setr_epi32(0, 0, 0, 4)), low_masks);
        const __m128i high = _mm_and_si128(_mm_srli_epi16(highs, 2), _mm_set1_epi8(0x30));
        return _mm_or_si128(low, high);
    }
};

}  // namespace
}  // namespace llmcore
