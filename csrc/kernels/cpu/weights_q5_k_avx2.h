// 5-bit weights above minimums, eight of each a super-block.
#pragma once

#include "kernels/cpu/k_scales_avx2.h"
#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights : SuperBlockHead {
    using Block = BlockQ5_K;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::minimum;
    static constexpr int kParts = 1;
    static constexpr int kPartVectors = 5;  // nibbles, then the fifth bits

    explicit LLMCORE_INLINE Weights(const Block* from) : SuperBlockHead(&from->d) {}

    static LLMCORE_INLINE GroupScales open(const Block& block) { return SuperBlockHead::open(&block.d); }

    template <int Part, int I>
    static LLMCORE_INLINE const uint8_t* bytes(const Block& of) {
        return I < 4 ? of.qs + 32 * I : of.qh;
    }

    template <int J>
    static LLMCORE_INLINE __m256i codes(const __m256i* bytes) {
        const __m256i nibbles = move_bits<J % 2 * 4, 0>(bytes[J / 2]);
        const __m256i low = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
        const __m256i high = _mm256_and_si256(move_bits<J, 4>(bytes[4]), _mm256_set1_epi8(16));
        return _mm256_or_si256(low, high);
    }

    template <int J>
    static LLMCORE_INLINE __m256i q_of(const Block& block) {
        return codes_of<Weights, J>(block);
    }
};

using Panels = SuperBlockPanels<Weights, 32, 4>;

double cost(const Shape* shape) { return linear_cost(shape, 176.0 / 256, 63); }

}  // namespace
}  // namespace llmcore
