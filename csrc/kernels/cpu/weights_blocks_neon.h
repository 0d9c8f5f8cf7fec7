// Formats with blocks of 32 weights, as linear_blocks_neon.h wants them.
#pragma once

#include "kernels/cpu/bytes_neon.h"
#include "quant/formats.h"

namespace llmcore {
namespace {

// Four blocks with a half as scale.
template <class BlockType, Format kFormatValue>
struct FourBlocks {
    using Block = BlockType;
    static constexpr Format kFormat = kFormatValue;
    static constexpr int kColumns = 32;
    static constexpr int kGroup = 32;
    static constexpr bool kHasBias = false;
    const Block* blocks;
    float32x4_t scale[1];

    explicit LLMCORE_INLINE FourBlocks(const Block* from)
        : blocks(from), scale{four_halves(from[0].d, from[1].d, from[2].d, from[3].d)} {}
};

// The same with a minimum.
template <class BlockType, Format kFormatValue>
struct FourBlocksAboveMinimums : FourBlocks<BlockType, kFormatValue> {
    using Block = BlockType;
    static constexpr bool kHasBias = true;
    float32x4_t bias[1];

    explicit LLMCORE_INLINE FourBlocksAboveMinimums(const Block* from)
        : FourBlocks<BlockType, kFormatValue>(from),
          bias{four_halves(from[0].m, from[1].m, from[2].m, from[3].m)} {}
};

struct WeightsQ4_0 : FourBlocks<BlockQ4_0, Format::Q4_0> {
    using FourBlocks::FourBlocks;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const Unsigned32 nibbles = split_nibbles(blocks[J].qs);
        return minus(nibbles.low, nibbles.high, 8);
    }
};

struct WeightsQ4_1 : FourBlocksAboveMinimums<BlockQ4_1, Format::Q4_1> {
    using FourBlocksAboveMinimums::FourBlocksAboveMinimums;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const Unsigned32 nibbles = split_nibbles(blocks[J].qs);
        return minus(nibbles.low, nibbles.high, 0);
    }
};

// Nibbles with a fifth bit each.
LLMCORE_INLINE Bytes32 five_bits(const uint8_t* qs, const uint8_t* qh, int8_t zero) {
    const Unsigned32 nibbles = split_nibbles(qs);
    const Unsigned32 fifth = spread_bits(load_u32(qh));
    return minus(vorrq_u8(nibbles.low, masked(fifth.low, 16)), vorrq_u8(nibbles.high, masked(fifth.high, 16)),
                 zero);
}

struct WeightsQ5_0 : FourBlocks<BlockQ5_0, Format::Q5_0> {
    using FourBlocks::FourBlocks;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return five_bits(blocks[J].qs, blocks[J].qh, 16);
    }
};

struct WeightsQ5_1 : FourBlocksAboveMinimums<BlockQ5_1, Format::Q5_1> {
    using FourBlocksAboveMinimums::FourBlocksAboveMinimums;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return five_bits(blocks[J].qs, blocks[J].qh, 0);
    }
};

struct WeightsQ8_0 : FourBlocks<BlockQ8_0, Format::Q8_0> {
    using FourBlocks::FourBlocks;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return {load_s8(blocks[J].qs), load_s8(blocks[J].qs + 16)};
    }
};

struct WeightsIQ4_NL : FourBlocks<BlockIQ4_NL, Format::IQ4_NL> {
    using FourBlocks::FourBlocks;

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return iq4_values(split_nibbles(blocks[J].qs));
    }
};

// 4-bit floats, an exponent for 32.
struct WeightsMXFP4 {
    using Block = BlockMXFP4;
    static constexpr Format kFormat = Format::MXFP4;
    static constexpr int kColumns = 32;
    static constexpr int kGroup = 32;
    static constexpr bool kHasBias = false;
    const Block* blocks;
    float32x4_t scale[1];

    // 2^(e - 128), of which those of 0 and 1 are subnormal.
    explicit LLMCORE_INLINE WeightsMXFP4(const Block* from) : blocks(from) {
        const int32x4_t e = {from[0].e, from[1].e, from[2].e, from[3].e};
        const int32x4_t normal = vshlq_n_s32(vsubq_s32(e, vdupq_n_s32(1)), 23);
        const int32x4_t subnormal = vshlq_s32(vdupq_n_s32(0x00200000), e);
        scale[0] = vreinterpretq_f32_s32(vbslq_s32(vcltq_s32(e, vdupq_n_s32(2)), subnormal, normal));
    }

    // Twice the values.
    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const int8x16_t table = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
        const Unsigned32 nibbles = split_nibbles(blocks[J].qs);
        return {vqtbl1q_s8(table, nibbles.low), vqtbl1q_s8(table, nibbles.high)};
    }
};

}  // namespace
}  // namespace llmcore
