// 4-bit floats that index a table, an exponent for 32.
#pragma once

#include "kernels/cpu/panels_q8x32_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockMXFP4;
    static constexpr bool kSigned = false;
    static constexpr Offset kOffset = Offset::zero_point;
    static constexpr float kZero = 12.0F;

    // Twice the values, plus kZero.
    static LLMCORE_INLINE __m256i q(const Block& block) {
        const __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), split_nibbles(block.qs));
    }

    static LLMCORE_INLINE __m256 scales(const Block* blocks, int count) {
        uint64_t bytes = 0;
        for (int j = 0; j < count; ++j) bytes |= static_cast<uint64_t>(blocks[j].e) << 8 * j;
        return powers(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(bytes))));
    }

    static LLMCORE_INLINE __m256 scales(const Block* eight) {
        const __m128i words = gather_words<sizeof(Block)>(&eight->e);
        return powers(_mm256_cvtepu16_epi32(_mm_and_si128(words, _mm_set1_epi16(255))));
    }

private:
    // 2^(e - 128); 0 and 1 are subnormal: where the shift of the exponent fails, the other one is larger.
    static LLMCORE_INLINE __m256 powers(__m256i e) {
        const __m256i one = _mm256_set1_epi32(1);
        const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
        const __m256i subnormal = _mm256_srlv_epi32(_mm256_set1_epi32(0x00400000), _mm256_sub_epi32(one, e));
        return _mm256_castsi256_ps(_mm256_max_epi32(normal, subnormal));
    }
};

using Panels = BlockPanels<Weights, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 17.0 / 32, 40); }

}  // namespace
}  // namespace llmcore
