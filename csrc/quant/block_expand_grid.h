// Expands blocks of IQ1, IQ2 and IQ3, whose weights come in vectors of eight or four from a grid. As
// block_expand.h: POD only, and the order of float operations is part of the contract.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "quant/formats.h"
#include "quant/grids.h"
#include "quant/half.h"

namespace llmcore {
namespace {

// Four bytes, the lowest first.
inline uint32_t packed_word(const uint8_t* p) {
    return p[0] | (static_cast<uint32_t>(p[1]) << 8) | (static_cast<uint32_t>(p[2]) << 16) |
           (static_cast<uint32_t>(p[3]) << 24);
}

// Eight signs of which seven are stored: an even number of them is negative.
inline unsigned even_signs(uint32_t seven) {
    return (seven & 0x7F) | (static_cast<unsigned>(__builtin_parity(seven & 0x7F)) << 7);
}

// `count` weights of a vector of a grid: bit i of `signs` makes weight i negative.
inline void expand_signed(uint64_t vector, int count, unsigned signs, float scale, float* out) {
    for (int i = 0; i < count; ++i) {
        const float value = scale * static_cast<float>((vector >> (8 * i)) & 0xFF);
        out[i] = ((signs >> i) & 1) != 0 ? -value : value;
    }
}

// Eight weights -1, 0 or 1, shifted by an eighth.
inline void expand_shifted(uint64_t vector, bool down, float scale, float* out) {
    const float shift = down ? -0.125F : 0.125F;
    for (int i = 0; i < 8; ++i) {
        const int value = static_cast<int>((vector >> (8 * i)) & 0xFF) - 1;
        out[i] = scale * (static_cast<float>(value) + shift);
    }
}

struct ExpandIQ2_XXS {
    static constexpr Format kFormat = Format::IQ2_XXS;
    static constexpr int kElements = 256;
    using Block = BlockIQ2_XXS;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub) {  // 32 elements each
            const uint8_t* qs = block.qs + 8 * sub;
            const uint32_t signs = packed_word(qs + 4);
            const float scale = d * (0.5F + static_cast<float>(signs >> 28)) * 0.25F;
            for (int i = 0; i < 4; ++i)
                expand_signed(kGridIQ2_XXS.values[qs[i]], 8, even_signs(signs >> (7 * i)), scale,
                              out + sub * 32 + 8 * i);
        }
    }
};

struct ExpandIQ2_XS {
    static constexpr Format kFormat = Format::IQ2_XS;
    static constexpr int kElements = 256;
    using Block = BlockIQ2_XS;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 32; ++i) {  // 8 elements each, a scale for 16
            const int nibble = (block.scales[i / 4] >> (i / 2 % 2 * 4)) & 0x0F;
            const float scale = d * (0.5F + static_cast<float>(nibble)) * 0.25F;
            expand_signed(kGridIQ2_XS.values[block.qs[i] & 0x1FF], 8, even_signs(block.qs[i] >> 9), scale,
                          out + 8 * i);
        }
    }
};

struct ExpandIQ2_S {
    static constexpr Format kFormat = Format::IQ2_S;
    static constexpr int kElements = 256;
    using Block = BlockIQ2_S;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 32; ++i) {  // 8 elements each, a scale for 16
            const int nibble = (block.scales[i / 4] >> (i / 2 % 2 * 4)) & 0x0F;
            const float scale = d * (0.5F + static_cast<float>(nibble)) * 0.25F;
            const int index = block.qs[i] | (((block.qh[i / 4] >> (i % 4 * 2)) & 3) << 8);
            expand_signed(kGridIQ2_S.values[index], 8, block.signs[i], scale, out + 8 * i);
        }
    }
};

struct ExpandIQ3_XXS {
    static constexpr Format kFormat = Format::IQ3_XXS;
    static constexpr int kElements = 256;
    using Block = BlockIQ3_XXS;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub) {  // 32 elements each
            const uint8_t* qs = block.qs + 8 * sub;
            const uint32_t signs = packed_word(block.scales + 4 * sub);
            const float scale = d * (0.5F + static_cast<float>(signs >> 28)) * 0.5F;
            for (int i = 0; i < 8; ++i)
                expand_signed(kGridIQ3_XXS.values[qs[i]], 4,
                              even_signs(signs >> (7 * (i / 2))) >> (i % 2 * 4), scale,
                              out + sub * 32 + 4 * i);
        }
    }
};

struct ExpandIQ3_S {
    static constexpr Format kFormat = Format::IQ3_S;
    static constexpr int kElements = 256;
    using Block = BlockIQ3_S;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 64; ++i) {  // 4 elements each, a scale for 32
            const int nibble = (block.scales[i / 16] >> (i / 8 % 2 * 4)) & 0x0F;
            const float scale = d * static_cast<float>(1 + 2 * nibble);
            const int index = block.qs[i] | (((block.qh[i / 8] >> (i % 8)) & 1) << 8);
            const unsigned signs = static_cast<unsigned>(block.signs[i / 2]) >> (i % 2 * 4);
            expand_signed(kGridIQ3_S.values[index], 4, signs, scale, out + 4 * i);
        }
    }
};

struct ExpandIQ1_S {
    static constexpr Format kFormat = Format::IQ1_S;
    static constexpr int kElements = 256;
    using Block = BlockIQ1_S;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 32; ++i) {  // 8 elements each, scale and shift for 32
            const int high = block.qh[i / 4];
            const float scale = d * static_cast<float>(2 * ((high >> 12) & 7) + 1);
            const int index = block.qs[i] | (((high >> (i % 4 * 3)) & 7) << 8);
            expand_shifted(kGridIQ1.values[index], (high & 0x8000) != 0, scale, out + 8 * i);
        }
    }
};

// The scale of a super-block of IQ1_M, a nibble in each of four words.
inline uint16_t scattered_half(const BlockIQ1_M& block) {
    return static_cast<uint16_t>((block.scales[0] >> 12) | ((block.scales[1] >> 8) & 0x00F0) |
                                 ((block.scales[2] >> 4) & 0x0F00) | (block.scales[3] & 0xF000));
}

struct ExpandIQ1_M {
    static constexpr Format kFormat = Format::IQ1_M;
    static constexpr int kElements = 256;
    using Block = BlockIQ1_M;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(scattered_half(block));
        for (int i = 0; i < 32; ++i) {  // 8 elements each, a scale for 16
            const int high = block.qh[i / 2] >> (i % 2 * 4);
            const float scale =
                d * static_cast<float>(2 * ((block.scales[i / 8] >> (i / 2 % 4 * 3)) & 7) + 1);
            expand_shifted(kGridIQ1.values[block.qs[i] | ((high & 7) << 8)], (high & 8) != 0, scale,
                           out + 8 * i);
        }
    }
};

}  // namespace
}  // namespace llmcore
