// 4-bit weights above minimums, eight of each a super-block.
#pragma once

#include "kernels/cpu/k_scales_avx2.h"
#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights : SuperBlockHead {
    using Block = BlockQ4_K;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::minimum;
    static constexpr int kParts = 4;
    static constexpr int kPartVectors = 1;

    explicit LLMCORE_INLINE Weights(const Block* from) : SuperBlockHead(&from->d) {}

    static LLMCORE_INLINE GroupScales open(const Block& block) { return SuperBlockHead::open(&block.d); }

    template <int Part, int I>
    static LLMCORE_INLINE const uint8_t* bytes(const Block& of) {
        return of.qs + 32 * Part;
    }

    template <int J>
    static LLMCORE_INLINE __m256i codes(const __m256i* bytes) {
        return _mm256_and_si256(move_bits<J * 4, 0>(bytes[0]), _mm256_set1_epi8(15));
    }

    template <int J>
    static LLMCORE_INLINE __m256i q_of(const Block& block) {
        return codes_of<Weights, J>(block);
    }
};

using Panels = SuperBlockPanels<Weights, 32, 8>;

double cost(const Shape* shape) { return linear_cost(shape, 144.0 / 256, 68); }

}  // namespace
}  // namespace llmcore
