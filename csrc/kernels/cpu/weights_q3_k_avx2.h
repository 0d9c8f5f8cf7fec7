// 3-bit weights minus 4, sixteen scales of 6 bits a super-block.
#pragma once

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
    const Block* block;
    __m256i scales;
    __m256i bias;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) : block(from) {
        const __m128i signed_scales = unpack_scales(block->scales);
        scales = scales_of_16(signed_scales);
        bias = _mm256_cvtepi8_epi16(signed_scales);
        d = half_to_float(block->d);
    }

    // Sixteen nibbles in 8 bytes, their upper pairs of bits in 4 more, minus 32.
    static LLMCORE_INLINE __m128i unpack_scales(const uint8_t* packed) {
        const uint32_t a = load_u32(packed);
        const uint32_t b = load_u32(packed + 4);
        const uint32_t c = load_u32(packed + 8);
        const uint32_t s0 = (a & 0x0F0F0F0F) | (c << 4 & 0x30303030);
        const uint32_t s1 = (b & 0x0F0F0F0F) | (c << 2 & 0x30303030);
        const uint32_t s2 = (a >> 4 & 0x0F0F0F0F) | (c & 0x30303030);
        const uint32_t s3 = (b >> 4 & 0x0F0F0F0F) | (c >> 2 & 0x30303030);
        const __m128i scales = _mm_setr_epi32(static_cast<int>(s0), static_cast<int>(s1),
                                              static_cast<int>(s2), static_cast<int>(s3));
        return _mm_sub_epi8(scales, _mm_set1_epi8(32));
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

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        return codes_of<Weights, J>(*block);
    }

    template <int J>
    LLMCORE_INLINE __m256i scale() const {
        return pick_scale<J>(scales);
    }
};

using Panels = SuperBlockPanels<Weights, 16, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 110.0 / 256, 65); }

}  // namespace
}  // namespace llmcore
