// TQ1_0 and TQ2_0, whose weights are -1, 0 and 1 with one scale, as linear_blocks_neon.h wants them.
#pragma once

#include "kernels/cpu/weights_k_neon.h"

namespace llmcore {
namespace {

template <class BlockType, Format kFormatValue>
struct TernaryBlock : SuperBlock<BlockType, kFormatValue, 32> {
    explicit LLMCORE_INLINE TernaryBlock(const BlockType* from)
        : SuperBlock<BlockType, kFormatValue, 32>(from) {
        this->scale[0] = this->scale[1] = vdupq_n_f32(half_to_float(from->d));
    }
};

// Five in a byte: the first digit is the leading one of byte / 256 as a ternary fraction.
struct WeightsTQ1_0 : TernaryBlock<BlockTQ1_0, Format::TQ1_0> {
    using TernaryBlock::TernaryBlock;

    // Digits of weights 0 to 159 are in 32 bytes, of 160 to 239 in 16, of 240 to 255 in 4.
    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        if constexpr (J < 5) {
            return minus(digit<J>(load_u8(block->qs)), digit<J>(load_u8(block->qs + 16)), 1);
        } else {
            const uint8x16_t bytes = load_u8(block->qs + 32);
            constexpr int kFirst = 2 * (J - 5);
            return minus(digit<kFirst>(bytes), J < 7 ? digit<kFirst + 1>(bytes) : last_digits(), 1);
        }
    }

private:
    // 3 * x / 256, without a carry out of the byte.
    static LLMCORE_INLINE uint8x16_t leading_digit(uint8x16_t x) {
        return vshrq_n_u8(vhaddq_u8(x, vshrq_n_u8(x, 1)), 6);
    }

    template <int Power>
    static LLMCORE_INLINE uint8x16_t digit(uint8x16_t x) {
        constexpr uint8_t kPowers[] = {1, 3, 9, 27, 81, 243};
        return leading_digit(vmulq_u8(x, vdupq_n_u8(kPowers[Power])));
    }

    LLMCORE_INLINE uint8x16_t last_digits() const {
        const uint8x16_t powers = {1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27};
        const uint8x16_t bytes = vreinterpretq_u8_u32(vdupq_n_u32(load_u32(block->qh)));
        return leading_digit(vmulq_u8(bytes, powers));
    }
};

// Four in a byte.
struct WeightsTQ2_0 : TernaryBlock<BlockTQ2_0, Format::TQ2_0> {
    using TernaryBlock::TernaryBlock;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* bytes = block->qs + J / 4 * 32;
        return minus(masked(move_bits<J % 4 * 2, 0>(load_u8(bytes)), 3),
                     masked(move_bits<J % 4 * 2, 0>(load_u8(bytes + 16)), 3), 1);
    }
};

}  // namespace
}  // namespace llmcore
