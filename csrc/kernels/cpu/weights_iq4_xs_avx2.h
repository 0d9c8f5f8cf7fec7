// 4-bit weights that index a table, eight scales of 6 bits a super-block.
#pragma once

#include "kernels/cpu/panels_q8x256_avx2.h"

namespace llmcore {
namespace {

struct Weights {
    using Block = BlockIQ4_XS;
    static constexpr bool kSigned = true;
    static constexpr Bias kBias = Bias::none;
    const Block* block;
    __m256i scales;
    float d;

    explicit LLMCORE_INLINE Weights(const Block* from) : block(from) {
        uint64_t bytes = 0;
        const uint32_t low = load_u32(block->scales_l);
        const uint32_t high = block->scales_h;
        for (int j = 0; j < 8; ++j) {
            const uint32_t scale = (low >> 4 * j & 15) | (high >> 2 * j & 3) << 4;
            bytes |= static_cast<uint64_t>((scale - 32) & 0xFF) << 8 * j;
        }
        scales = scales_of_32(bytes);
        d = half_to_float(block->d);
    }

    static LLMCORE_INLINE __m256i of_nibbles(__m256i nibbles) { return iq4_values(nibbles); }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        return of_nibbles(split_nibbles(block->qs + 16 * J));
    }

    template <int J>
    LLMCORE_INLINE __m256i scale() const {
        return pick_scale<J>(scales);
    }
};

using Panels = SuperBlockPanels<Weights, 32, 1>;

double cost(const Shape* shape) { return linear_cost(shape, 136.0 / 256, 58); }

}  // namespace
}  // namespace llmcore
