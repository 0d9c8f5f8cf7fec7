// IQ1, IQ2 and IQ3, whose weights are vectors from a grid, as linear_blocks_neon.h wants them.
#pragma once

#include "kernels/cpu/weights_k_neon.h"
#include "quant/grids.h"

namespace llmcore {
namespace {

LLMCORE_INLINE int8x16_t join(uint64_t a, uint64_t b) { return vcombine_s8(vcreate_s8(a), vcreate_s8(b)); }

LLMCORE_INLINE uint64_t join_fours(uint32_t a, uint32_t b) { return a | static_cast<uint64_t>(b) << 32; }

LLMCORE_INLINE int8x16_t negated(int8x16_t values, uint8x16_t where) {
    const int8x16_t ones = vreinterpretq_s8_u8(where);
    return vsubq_s8(veorq_s8(values, ones), ones);
}

// Negative where a bit of `signs` is set.
LLMCORE_INLINE Bytes32 apply_signs(Bytes32 values, uint32_t signs) {
    const Unsigned32 negative = spread_bits(signs);
    return {negated(values.low, negative.low), negated(values.high, negative.high)};
}

// Bytes of seven signs with the eighth, which makes the number of negative ones even.
LLMCORE_INLINE uint32_t add_eighth_signs(uint32_t sevens) {
    uint32_t parity = sevens ^ sevens >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return sevens | (parity & 0x01010101) << 7;
}

// Four times seven signs, and what is above them.
LLMCORE_INLINE uint32_t unpack_signs(uint32_t word) {
    return add_eighth_signs((word & 0x0000007F) | (word << 1 & 0x00007F00) | (word << 2 & 0x007F0000) |
                            (word << 3 & 0x7F000000));
}

// 2 * nibble + 1, the low nibble of each byte first.
LLMCORE_INLINE int8x16_t odd_scales(uint64_t nibbles) {
    const uint8x8_t bytes = vcreate_u8(nibbles);
    const uint8x8_t low = vand_u8(bytes, vdup_n_u8(15)), high = vshr_n_u8(bytes, 4);
    const uint8x16_t four = vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
    return vreinterpretq_s8_u8(vorrq_u8(vshlq_n_u8(four, 1), vdupq_n_u8(1)));
}

// Scales that stand in the upper four bits of eight words.
LLMCORE_INLINE void scales_of_words(const uint8_t* words, int64_t stride, float factor, float32x4_t* scale) {
    for (int i = 0; i < 2; ++i, words += 4 * stride) {
        const uint32x4_t w = {load_u32(words), load_u32(words + stride), load_u32(words + 2 * stride),
                              load_u32(words + 3 * stride)};
        const uint32x4_t odd = vorrq_u32(vshlq_n_u32(vshrq_n_u32(w, 28), 1), vdupq_n_u32(1));
        scale[i] = vmulq_n_f32(vcvtq_f32_u32(odd), factor);
    }
}

struct WeightsIQ2_XXS : SuperBlock<BlockIQ2_XXS, Format::IQ2_XXS, 32> {
    explicit LLMCORE_INLINE WeightsIQ2_XXS(const Block* from) : SuperBlock(from) {
        scales_of_words(block->qs + 4, 8, 0.125F * half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* i = block->qs + 8 * J;
        const uint64_t* grid = kGridIQ2_XXS.values;
        return apply_signs({join(grid[i[0]], grid[i[1]]), join(grid[i[2]], grid[i[3]])},
                           unpack_signs(load_u32(i + 4)));
    }
};

struct WeightsIQ2_XS : SuperBlock<BlockIQ2_XS, Format::IQ2_XS, 16> {
    explicit LLMCORE_INLINE WeightsIQ2_XS(const Block* from) : SuperBlock(from) {
        scale_bytes(odd_scales(load_u64(block->scales)), 0.125F * half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint32_t a = block->qs[4 * J], b = block->qs[4 * J + 1];
        const uint32_t c = block->qs[4 * J + 2], d = block->qs[4 * J + 3];
        const uint64_t* grid = kGridIQ2_XS.values;
        return apply_signs({join(grid[a & 0x1FF], grid[b & 0x1FF]), join(grid[c & 0x1FF], grid[d & 0x1FF])},
                           add_eighth_signs(a >> 9 | b >> 9 << 8 | c >> 9 << 16 | d >> 9 << 24));
    }
};

struct WeightsIQ2_S : SuperBlock<BlockIQ2_S, Format::IQ2_S, 16> {
    explicit LLMCORE_INLINE WeightsIQ2_S(const Block* from) : SuperBlock(from) {
        scale_bytes(odd_scales(load_u64(block->scales)), 0.125F * half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* i = block->qs + 4 * J;
        const uint32_t high = block->qh[J];
        const uint64_t* grid = kGridIQ2_S.values;
        return apply_signs({join(grid[i[0] | (high << 8 & 0x300)], grid[i[1] | (high << 6 & 0x300)]),
                            join(grid[i[2] | (high << 4 & 0x300)], grid[i[3] | (high << 2 & 0x300)])},
                           load_u32(block->signs + 4 * J));
    }
};

struct WeightsIQ3_XXS : SuperBlock<BlockIQ3_XXS, Format::IQ3_XXS, 32> {
    explicit LLMCORE_INLINE WeightsIQ3_XXS(const Block* from) : SuperBlock(from) {
        scales_of_words(block->scales, 4, 0.25F * half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const auto eight = [this](int i) {
            const uint8_t* index = block->qs + 8 * J + 2 * i;
            return join_fours(kGridIQ3_XXS.values[index[0]], kGridIQ3_XXS.values[index[1]]);
        };
        return apply_signs({join(eight(0), eight(1)), join(eight(2), eight(3))},
                           unpack_signs(load_u32(block->scales + 4 * J)));
    }
};

struct WeightsIQ3_S : SuperBlock<BlockIQ3_S, Format::IQ3_S, 32> {
    explicit LLMCORE_INLINE WeightsIQ3_S(const Block* from) : SuperBlock(from) {
        scale_bytes(vget_low_s8(odd_scales(load_u32(block->scales))), half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint32_t high = static_cast<uint32_t>(block->qh[J]) << 8;
        const auto eight = [this, high](int i) {
            const uint8_t* index = block->qs + 8 * J + i;
            return join_fours(kGridIQ3_S.values[index[0] | (high >> i & 0x100)],
                              kGridIQ3_S.values[index[1] | (high >> (i + 1) & 0x100)]);
        };
        return apply_signs({join(eight(0), eight(2)), join(eight(4), eight(6))},
                           load_u32(block->signs + 4 * J));
    }
};

// Vectors of the grid of IQ1: eight times what they mean, shifted up or down by an eighth. The grid's values
// are 0 to 2.
LLMCORE_INLINE int8x16_t shifted(int8x16_t vectors, int8x16_t shifts) {
    return vaddq_s8(vshlq_n_s8(vectors, 3), shifts);
}

// An eighth up, or down where a bit is set; what is above the grid's middle, too.
LLMCORE_INLINE uint64_t shift_of(uint32_t down) {
    return down != 0 ? 0xF7F7F7F7F7F7F7F7 : 0xF9F9F9F9F9F9F9F9;
}

struct WeightsIQ1_S : SuperBlock<BlockIQ1_S, Format::IQ1_S, 32> {
    explicit LLMCORE_INLINE WeightsIQ1_S(const Block* from) : SuperBlock(from) {
        const uint16x8_t words = vreinterpretq_u16_u8(load_u8(block->qh));
        const uint16x8_t twice = vandq_u16(vshrq_n_u16(words, 11), vdupq_n_u16(14));
        const int8x8_t odd = vreinterpret_s8_u8(vmovn_u16(vorrq_u16(twice, vdupq_n_u16(1))));
        scale_bytes(odd, 0.125F * half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* i = block->qs + 4 * J;
        const uint32_t high = block->qh[J];
        const uint64_t* grid = kGridIQ1.values;
        const int8x16_t shifts = vreinterpretq_s8_u64(vdupq_n_u64(shift_of(high & 0x8000)));
        return {shifted(join(grid[i[0] | (high << 8 & 0x700)], grid[i[1] | (high << 5 & 0x700)]), shifts),
                shifted(join(grid[i[2] | (high << 2 & 0x700)], grid[i[3] | (high >> 1 & 0x700)]), shifts)};
    }
};

struct WeightsIQ1_M : SuperBlock<BlockIQ1_M, Format::IQ1_M, 16> {
    explicit LLMCORE_INLINE WeightsIQ1_M(const Block* from) : SuperBlock(from) {
        const uint64_t words = load_u64(block->scales);
        // Sixteen times three bits, four in each word, whose upper nibbles are a half.
        const uint64_t tops = words & 0xF000F000F000F000;
        const auto d = static_cast<uint16_t>(tops >> 12 | tops >> 24 | tops >> 36 | tops >> 48);
        uint64_t odd[2];
        for (int i = 0; i < 2; ++i) {
            const uint64_t a = words >> 32 * i & 0xFFFF, b = words >> (32 * i + 16) & 0xFFFF;
            odd[i] = spread_threes(a) | spread_threes(b) << 32;
        }
        scale_bytes(vorrq_s8(vshlq_n_s8(join(odd[0], odd[1]), 1), vdupq_n_s8(1)), 0.125F * half_to_float(d),
                    scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* i = block->qs + 4 * J;
        const uint32_t high = block->qh[2 * J] | static_cast<uint32_t>(block->qh[2 * J + 1]) << 8;
        const uint64_t* grid = kGridIQ1.values;
        return {shifted(join(grid[i[0] | (high << 8 & 0x700)], grid[i[1] | (high << 4 & 0x700)]),
                        join(shift_of(high & 0x0008), shift_of(high & 0x0080))),
                shifted(join(grid[i[2] | (high & 0x700)], grid[i[3] | (high >> 4 & 0x700)]),
                        join(shift_of(high & 0x0800), shift_of(high & 0x8000)))};
    }

private:
    // Four times three bits, a byte each.
    static LLMCORE_INLINE uint64_t spread_threes(uint64_t word) {
        return (word & 7) | (word << 5 & 0x700) | (word << 10 & 0x70000) | (word << 15 & 0x7000000);
    }
};

}  // namespace
}  // namespace llmcore
