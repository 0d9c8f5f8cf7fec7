// 2-bit weights above minimums, sixteen of each a super-block.
#pragma once

#include "kernels/cpu/bit_pairs_avx2.h"
#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ2_K;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::minimum;
    static constexpr int kParts = 2;
    static constexpr int kPartVectors = 1;
    __m256i scales;
    __m256i bias;
    float d, dmin;

    explicit LLMCORE_INLINE Weights(const Block* from) {
        const __m128i packed = load_128(from->scales);
        const __m128i nibble = _mm_set1_epi8(15);
        scales = scales_of_16(_mm_and_si128(packed, nibble));
        bias = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(packed, 4), nibble));
        d = half_to_float(from->d);
        dmin = half_to_float(from->dmin);
    }

    static LLMCORE_INLINE PairScales open(const Block& block) {
        const __m128i packed = load_128(block.scales);
        const __m128i nibble = _mm_set1_epi8(15);
        return {scales_of_16(_mm_and_si128(packed, nibble)),
                _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(packed, 4), nibble)),
                _mm256_mul_ps(broadcast_half(block.d), place_factors()),
                _mm256_xor_ps(broadcast_half(block.dmin), _mm256_set1_ps(-0.0F))};
    }

    template <int Part, int I>
    static LLMCORE_INLINE const uint8_t* bytes(const Block& of) {
        return of.qs + 32 * Part;
    }

    template <int J>
    static LLMCORE_INLINE __m256i codes(const __m256i* bytes) {
        return _mm256_and_si256(move_bits<J * 2, 0>(bytes[0]), _mm256_set1_epi8(3));
    }

    // Codes where they stand: times 4 to the power of their place, as long as sums of two products fit.
    template <int J>
    static LLMCORE_INLINE __m256i q_of(const Block& block) {
        constexpr int kPlace = place_of(J);
        const __m256i pairs = move_bits<J % 4 * 2, kPlace * 2>(load_256(block.qs + J / 4 * 32));
        return _mm256_and_si256(pairs, _mm256_set1_epi8(3 << 2 * kPlace));
    }
};

using Panels = SuperBlockPanels<Weights, 16, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 84.0 / 256, 65); }

}  // namespace
}  // namespace llmcore
