// 3-bit weights minus 4, sixteen scales of 6 bits a super-block.
#pragma once

#include "kernels/cpu/bit_pairs_avx2.h"
#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ3_K;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 2;
    static constexpr int kParts = 1;
    static constexpr int kPartVectors = 3;  // pairs of bits, then the third bits
    __m256i scales;
    __m256i bias;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) {
        const __m128i signed_scales = unpack_scales(from->scales);
        scales = scales_of_16(signed_scales);
        bias = _mm256_cvtepi8_epi16(signed_scales);
        d = half_to_float(from->d);
    }

    // Sixteen nibbles in 8 bytes, their upper pairs of bits in 4 more, minus 32. The load begins before them:
    // what follows the last super-block is not ours.
    static LLMCORE_INLINE __m128i unpack_scales(const uint8_t* packed) {
        const __m128i bytes = load_128(packed - 4);
        const __m128i lows = _mm_shuffle_epi32(bytes, 0x99);
        const __m128i highs = _mm_shuffle_epi32(bytes, 0xFF);
        const __m128i low =
            _mm_and_si128(_mm_srlv_epi32(lows, _mm_setr_epi32(0, 0, 4, 4)), _mm_set1_epi8(15));
        const __m128i placed =
            _mm_srlv_epi32(_mm_sllv_epi32(highs, _mm_setr_epi32(4, 2, 0, 0)), _mm_setr_epi32(0, 0, 0, 2));
        const __m128i high = _mm_and_si128(placed, _mm_set1_epi8(0x30));
        return _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32));
    }

    static LLMCORE_INLINE PairScales open(const Block& block) {
        const __m128i scales = unpack_scales(block.scales);
        const __m256 d = broadcast_half(block.d);
        return {scales_of_16(scales), _mm256_cvtepi8_epi16(scales), _mm256_mul_ps(d, place_factors()),
                _mm256_mul_ps(d, _mm256_set1_ps(-(1 << kBiasShift)))};
    }

    template <int Part, int I>
    static LLMCORE_INLINE const uint8_t* bytes(const Block& of) {
        return I < 2 ? of.qs + 32 * I : of.hmask;
    }

    template <int J>
    static LLMCORE_INLINE __m256i codes(const __m256i* bytes) {
        const __m256i pairs = move_bits<J % 4 * 2, 0>(bytes[J / 4]);
        const __m256i low = _mm256_and_si256(pairs, _mm256_set1_epi8(3));
        return _mm256_or_si256(low, _mm256_and_si256(move_bits<J, 2>(bytes[2]), _mm256_set1_epi8(4)));
    }

    // Codes where their pairs of bits stand: times 4 to the power of their place, as long as sums of two
    // products fit.
    template <int J>
    static LLMCORE_INLINE __m256i q_of(const Block& block) {
        constexpr int kPlace = place_of(J);
        const __m256i pairs = move_bits<J % 4 * 2, kPlace * 2>(load_256(block.qs + J / 4 * 32));
        const __m256i low = _mm256_and_si256(pairs, _mm256_set1_epi8(3 << 2 * kPlace));
        const __m256i third = move_bits<J, kPlace * 2 + 2>(load_256(block.hmask));
        return _mm256_or_si256(low, _mm256_and_si256(third, _mm256_set1_epi8(4 << 2 * kPlace)));
    }
};

using Panels = SuperBlockPanels<Weights, 16, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 110.0 / 256, 65); }

}  // namespace
}  // namespace llmcore
