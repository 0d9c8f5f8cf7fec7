// 6-bit weights minus 32, sixteen scales a super-block.
#pragma once

#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockQ6_K;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = 5;
    // 128 weights are 64 bytes of nibbles (both halves' low, then both halves' high) and 32 of four bit
    // pairs.
    static constexpr int kParts = 2;
    static constexpr int kPartVectors = 3;
    __m256i scales;
    __m256i bias;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) {
        const __m128i packed = load_128(from->scales);
        scales = scales_of_16(packed);
        bias = _mm256_cvtepi8_epi16(packed);
        d = half_to_float(from->d);
    }

    static LLMCORE_INLINE PairScales open(const Block& block) {
        const __m128i scales = load_128(block.scales);
        const __m256 d = broadcast_half(block.d);
        return {scales_of_16(scales), _mm256_cvtepi8_epi16(scales), d,
                _mm256_mul_ps(d, _mm256_set1_ps(-(1 << kBiasShift)))};
    }

    template <int Part, int I>
    static LLMCORE_INLINE const uint8_t* bytes(const Block& of) {
        return I < 2 ? of.ql + 64 * Part + 32 * I : of.qh + 32 * Part;
    }

    template <int J>
    static LLMCORE_INLINE __m256i codes(const __m256i* bytes) {
        const __m256i nibbles = move_bits<J / 2 * 4, 0>(bytes[J % 2]);
        const __m256i low = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
        return _mm256_or_si256(low, _mm256_and_si256(move_bits<2 * J, 4>(bytes[2]), _mm256_set1_epi8(48)));
    }

    template <int J>
    static LLMCORE_INLINE __m256i q_of(const Block& block) {
        return codes_of<Weights, J>(block);
    }
};

using Panels = SuperBlockPanels<Weights, 16, 2>;

double cost(const Shape* shape) { return linear_cost(shape, 210.0 / 256, 60); }

}  // namespace
}  // namespace llmcore
