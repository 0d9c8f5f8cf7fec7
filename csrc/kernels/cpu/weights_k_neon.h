// The K-quants and IQ4_XS, as linear_blocks_neon.h wants them.
#pragma once

#include "kernels/cpu/bytes_neon.h"
#include "kernels/cpu/k_scales.h"
#include "quant/formats.h"

namespace llmcore {
namespace {

// A super-block with a scale for `Group` weights.
template <class BlockType, Format kFormatValue, int Group, bool HasBias = false>
struct SuperBlock {
    using Block = BlockType;
    static constexpr Format kFormat = kFormatValue;
    static constexpr int kColumns = 256;
    static constexpr int kGroup = Group;
    static constexpr bool kHasBias = HasBias;
    const Block* block;
    float32x4_t scale[64 / Group];
    float32x4_t bias[HasBias ? 64 / Group : 1];

    explicit LLMCORE_INLINE SuperBlock(const Block* from) : block(from) {}
};

// 2-bit weights above minimums.
struct WeightsQ2_K : SuperBlock<BlockQ2_K, Format::Q2_K, 16, true> {
    explicit LLMCORE_INLINE WeightsQ2_K(const Block* from) : SuperBlock(from) {
        const uint8x16_t packed = load_u8(block->scales);
        scale_bytes(vreinterpretq_s8_u8(masked(packed, 15)), half_to_float(block->d), scale);
        scale_bytes(vreinterpretq_s8_u8(vshrq_n_u8(packed, 4)), -half_to_float(block->dmin), bias);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* bytes = block->qs + J / 4 * 32;
        return minus(masked(move_bits<J % 4 * 2, 0>(load_u8(bytes)), 3),
                     masked(move_bits<J % 4 * 2, 0>(load_u8(bytes + 16)), 3), 0);
    }
};

// 3-bit weights minus 4, scales of 6 bits.
struct WeightsQ3_K : SuperBlock<BlockQ3_K, Format::Q3_K, 16> {
    explicit LLMCORE_INLINE WeightsQ3_K(const Block* from) : SuperBlock(from) {
        scale_bytes(unpack_scales(block->scales), half_to_float(block->d), scale);
    }

    // Sixteen nibbles in 8 bytes, their upper pairs of bits in 4 more, minus 32.
    static LLMCORE_INLINE int8x16_t unpack_scales(const uint8_t* packed) {
        const uint32_t a = load_u32(packed);
        const uint32_t b = load_u32(packed + 4);
        const uint32_t c = load_u32(packed + 8);
        const uint32x4_t words = {
            (a & 0x0F0F0F0F) | (c << 4 & 0x30303030), (b & 0x0F0F0F0F) | (c << 2 & 0x30303030),
            (a >> 4 & 0x0F0F0F0F) | (c & 0x30303030), (b >> 4 & 0x0F0F0F0F) | (c >> 2 & 0x30303030)};
        return vsubq_s8(vreinterpretq_s8_u32(words), vdupq_n_s8(32));
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return minus(bits<J>(0), bits<J>(16), 4);
    }

private:
    template <int J>
    LLMCORE_INLINE uint8x16_t bits(int from) const {
        const uint8x16_t low = masked(move_bits<J % 4 * 2, 0>(load_u8(block->qs + J / 4 * 32 + from)), 3);
        return vorrq_u8(low, masked(move_bits<J, 2>(load_u8(block->hmask + from)), 4));
    }
};

// Scales and minimums of Q4_K and Q5_K.
template <class Weights>
LLMCORE_INLINE void unpack_scales_and_minimums(Weights& w) {
    const ScalesAndMinimums packed(w.block->scales);
    scale_bytes(vcreate_s8(packed.scales), half_to_float(w.block->d), w.scale);
    scale_bytes(vcreate_s8(packed.minimums), -half_to_float(w.block->dmin), w.bias);
}

// The low nibbles of 32 bytes are 32 weights, the high ones the next.
template <int J>
LLMCORE_INLINE uint8x16_t nibbles_of(const uint8_t* bytes) {
    return J % 2 == 0 ? masked(load_u8(bytes), 15) : vshrq_n_u8(load_u8(bytes), 4);
}

// 4-bit weights above minimums.
struct WeightsQ4_K : SuperBlock<BlockQ4_K, Format::Q4_K, 32, true> {
    explicit LLMCORE_INLINE WeightsQ4_K(const Block* from) : SuperBlock(from) {
        unpack_scales_and_minimums(*this);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        const uint8_t* bytes = block->qs + J / 2 * 32;
        return minus(nibbles_of<J>(bytes), nibbles_of<J>(bytes + 16), 0);
    }
};

// 5-bit weights above minimums.
struct WeightsQ5_K : SuperBlock<BlockQ5_K, Format::Q5_K, 32, true> {
    explicit LLMCORE_INLINE WeightsQ5_K(const Block* from) : SuperBlock(from) {
        unpack_scales_and_minimums(*this);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return minus(bits<J>(0), bits<J>(16), 0);
    }

private:
    template <int J>
    LLMCORE_INLINE uint8x16_t bits(int from) const {
        return vorrq_u8(nibbles_of<J>(block->qs + J / 2 * 32 + from),
                        masked(move_bits<J, 4>(load_u8(block->qh + from)), 16));
    }
};

// 6-bit weights minus 32.
struct WeightsQ6_K : SuperBlock<BlockQ6_K, Format::Q6_K, 16> {
    explicit LLMCORE_INLINE WeightsQ6_K(const Block* from) : SuperBlock(from) {
        scale_bytes(load_s8(block->scales), half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return minus(bits<J>(0), bits<J>(16), 32);
    }

private:
    // 128 weights are 64 bytes of nibbles (both halves' low, then both halves' high) and 32 of four bit
    // pairs.
    template <int J>
    LLMCORE_INLINE uint8x16_t bits(int from) const {
        constexpr int kPart = J % 4;
        const uint8x16_t low = nibbles_of<kPart / 2>(block->ql + J / 4 * 64 + kPart % 2 * 32 + from);
        const uint8x16_t pairs = load_u8(block->qh + J / 4 * 32 + from);
        return vorrq_u8(low, masked(move_bits<2 * kPart, 4>(pairs), 48));
    }
};

// 4-bit weights that index a table, scales of 6 bits.
struct WeightsIQ4_XS : SuperBlock<BlockIQ4_XS, Format::IQ4_XS, 32> {
    explicit LLMCORE_INLINE WeightsIQ4_XS(const Block* from) : SuperBlock(from) {
        uint64_t bytes = 0;
        const uint32_t low = load_u32(block->scales_l);
        const uint32_t high = block->scales_h;
        for (int j = 0; j < 8; ++j) {
            const uint32_t six = (low >> 4 * j & 15) | (high >> 2 * j & 3) << 4;
            bytes |= static_cast<uint64_t>((six - 32) & 0xFF) << 8 * j;
        }
        scale_bytes(vcreate_s8(bytes), half_to_float(block->d), scale);
    }

    template <int J>
    LLMCORE_INLINE Bytes32 q() const {
        return iq4_values(split_nibbles(block->qs + 16 * J));
    }
};

}  // namespace
}  // namespace llmcore
