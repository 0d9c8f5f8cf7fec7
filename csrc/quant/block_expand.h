// Expands one block of each format to floats: the one scalar definition of what the formats mean, used by
// dequantize() and by the reference kernels. POD only, everything in an anonymous namespace.
//
// The order of float operations is part of the contract (bit for bit what the gguf package computes), so
// compile without contraction of products and sums.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "quant/formats.h"
#include "quant/half.h"

namespace llmcore {
namespace {

// The 16 values of IQ4_NL and IQ4_XS.
constexpr int8_t kNonlinear4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// The eight 6-bit scales and minimums that Q4_K and Q5_K pack into 12 bytes.
inline void unpack_scales_mins(const uint8_t* packed, uint8_t* scales, uint8_t* mins) {
    for (int i = 0; i < 4; ++i) {
        scales[i] = packed[i] & 0x3F;
        mins[i] = packed[4 + i] & 0x3F;
        scales[4 + i] = static_cast<uint8_t>((packed[8 + i] & 0x0F) | ((packed[i] >> 2) & 0x30));
        mins[4 + i] = static_cast<uint8_t>((packed[8 + i] >> 4) | ((packed[4 + i] >> 2) & 0x30));
    }
}

// Each expander: the format, the elements of a block, the block's structure, and expand().

struct ExpandF32 {
    static constexpr Format kFormat = Format::F32;
    static constexpr int kElements = 1;
    using Block = uint8_t[4];
    static void expand(const Block& block, float* out) { __builtin_memcpy(out, block, 4); }
};

struct ExpandF16 {
    static constexpr Format kFormat = Format::F16;
    static constexpr int kElements = 1;
    using Block = uint8_t[2];
    static void expand(const Block& block, float* out) {
        *out = expand_half(static_cast<uint16_t>(block[0] | (block[1] << 8)));
    }
};

struct ExpandBF16 {
    static constexpr Format kFormat = Format::BF16;
    static constexpr int kElements = 1;
    using Block = uint8_t[2];
    static void expand(const Block& block, float* out) {
        *out = float_from_bits((static_cast<uint32_t>(block[0]) << 16) |
                               (static_cast<uint32_t>(block[1]) << 24));
    }
};

struct ExpandQ4_0 {
    static constexpr Format kFormat = Format::Q4_0;
    static constexpr int kElements = 32;
    using Block = BlockQ4_0;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 16; ++i) {
            out[i] = d * static_cast<float>((block.qs[i] & 0x0F) - 8);
            out[16 + i] = d * static_cast<float>((block.qs[i] >> 4) - 8);
        }
    }
};

struct ExpandQ4_1 {
    static constexpr Format kFormat = Format::Q4_1;
    static constexpr int kElements = 32;
    using Block = BlockQ4_1;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        const float m = expand_half(block.m);
        for (int i = 0; i < 16; ++i) {
            out[i] = d * static_cast<float>(block.qs[i] & 0x0F) + m;
            out[16 + i] = d * static_cast<float>(block.qs[i] >> 4) + m;
        }
    }
};

inline uint32_t high_bits(const uint8_t* qh) {
    return qh[0] | (static_cast<uint32_t>(qh[1]) << 8) | (static_cast<uint32_t>(qh[2]) << 16) |
           (static_cast<uint32_t>(qh[3]) << 24);
}

struct ExpandQ5_0 {
    static constexpr Format kFormat = Format::Q5_0;
    static constexpr int kElements = 32;
    using Block = BlockQ5_0;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        const uint32_t high = high_bits(block.qh);
        for (int i = 0; i < 16; ++i) {
            const int low_q = (block.qs[i] & 0x0F) | static_cast<int>(((high >> i) & 1) << 4);
            const int high_q = (block.qs[i] >> 4) | static_cast<int>(((high >> (16 + i)) & 1) << 4);
            out[i] = d * static_cast<float>(low_q - 16);
            out[16 + i] = d * static_cast<float>(high_q - 16);
        }
    }
};

struct ExpandQ5_1 {
    static constexpr Format kFormat = Format::Q5_1;
    static constexpr int kElements = 32;
    using Block = BlockQ5_1;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        const float m = expand_half(block.m);
        const uint32_t high = high_bits(block.qh);
        for (int i = 0; i < 16; ++i) {
            const int low_q = (block.qs[i] & 0x0F) | static_cast<int>(((high >> i) & 1) << 4);
            const int high_q = (block.qs[i] >> 4) | static_cast<int>(((high >> (16 + i)) & 1) << 4);
            out[i] = d * static_cast<float>(low_q) + m;
            out[16 + i] = d * static_cast<float>(high_q) + m;
        }
    }
};

struct ExpandQ8_0 {
    static constexpr Format kFormat = Format::Q8_0;
    static constexpr int kElements = 32;
    using Block = BlockQ8_0;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
    }
};

struct ExpandQ2_K {
    static constexpr Format kFormat = Format::Q2_K;
    static constexpr int kElements = 256;
    using Block = BlockQ2_K;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        const float dmin = expand_half(block.dmin);
        for (int sub = 0; sub < 16; ++sub) {  // 16 elements each
            const float scale = d * static_cast<float>(block.scales[sub] & 0x0F);
            const float minimum = dmin * static_cast<float>(block.scales[sub] >> 4);
            const uint8_t* qs = block.qs + (sub / 8) * 32 + (sub % 2) * 16;
            const int shift = (sub / 2) % 4 * 2;
            for (int i = 0; i < 16; ++i)
                out[sub * 16 + i] = scale * static_cast<float>((qs[i] >> shift) & 3) - minimum;
        }
    }
};

struct ExpandQ3_K {
    static constexpr Format kFormat = Format::Q3_K;
    static constexpr int kElements = 256;
    using Block = BlockQ3_K;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 16; ++sub) {  // 16 elements each
            const int low = sub < 8 ? block.scales[sub] & 0x0F : block.scales[sub - 8] >> 4;
            const int high = (block.scales[8 + sub % 4] >> (sub / 4 * 2)) & 3;
            const float scale = d * static_cast<float>((low | (high << 4)) - 32);
            const uint8_t* qs = block.qs + (sub / 8) * 32 + (sub % 2) * 16;
            const uint8_t* hmask = block.hmask + (sub % 2) * 16;
            const int shift = (sub / 2) % 4 * 2;
            for (int i = 0; i < 16; ++i) {
                const int q = ((qs[i] >> shift) & 3) - (((hmask[i] >> (sub / 2)) & 1) != 0 ? 0 : 4);
                out[sub * 16 + i] = scale * static_cast<float>(q);
            }
        }
    }
};

struct ExpandQ4_K {
    static constexpr Format kFormat = Format::Q4_K;
    static constexpr int kElements = 256;
    using Block = BlockQ4_K;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        const float dmin = expand_half(block.dmin);
        uint8_t scales[8];
        uint8_t mins[8];
        unpack_scales_mins(block.scales, scales, mins);
        for (int sub = 0; sub < 8; ++sub) {  // 32 elements each
            const float scale = d * static_cast<float>(scales[sub]);
            const float minimum = dmin * static_cast<float>(mins[sub]);
            const uint8_t* qs = block.qs + sub / 2 * 32;
            const int shift = sub % 2 * 4;
            for (int i = 0; i < 32; ++i)
                out[sub * 32 + i] = scale * static_cast<float>((qs[i] >> shift) & 0x0F) - minimum;
        }
    }
};

struct ExpandQ5_K {
    static constexpr Format kFormat = Format::Q5_K;
    static constexpr int kElements = 256;
    using Block = BlockQ5_K;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        const float dmin = expand_half(block.dmin);
        uint8_t scales[8];
        uint8_t mins[8];
        unpack_scales_mins(block.scales, scales, mins);
        for (int sub = 0; sub < 8; ++sub) {  // 32 elements each
            const float scale = d * static_cast<float>(scales[sub]);
            const float minimum = dmin * static_cast<float>(mins[sub]);
            const uint8_t* qs = block.qs + sub / 2 * 32;
            const int shift = sub % 2 * 4;
            for (int i = 0; i < 32; ++i) {
                const int q = ((qs[i] >> shift) & 0x0F) | (((block.qh[i] >> sub) & 1) << 4);
                out[sub * 32 + i] = scale * static_cast<float>(q) - minimum;
            }
        }
    }
};

struct ExpandQ6_K {
    static constexpr Format kFormat = Format::Q6_K;
    static constexpr int kElements = 256;
    using Block = BlockQ6_K;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 16; ++sub) {  // 16 elements each
            const float scale = d * static_cast<float>(block.scales[sub]);
            const int half = sub / 8;         // of 128 elements: 64 bytes of ql, 32 of qh
            const int quarter = sub / 2 % 4;  // of 32 elements
            const uint8_t* ql = block.ql + half * 64 + quarter % 2 * 32 + sub % 2 * 16;
            const uint8_t* qh = block.qh + half * 32 + sub % 2 * 16;
            for (int i = 0; i < 16; ++i) {
                const int q = ((ql[i] >> (quarter / 2 * 4)) & 0x0F) | (((qh[i] >> (quarter * 2)) & 3) << 4);
                out[sub * 16 + i] = scale * static_cast<float>(q - 32);
            }
        }
    }
};

struct ExpandIQ4_NL {
    static constexpr Format kFormat = Format::IQ4_NL;
    static constexpr int kElements = 32;
    using Block = BlockIQ4_NL;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 16; ++i) {
            out[i] = d * static_cast<float>(kNonlinear4[block.qs[i] & 0x0F]);
            out[16 + i] = d * static_cast<float>(kNonlinear4[block.qs[i] >> 4]);
        }
    }
};

struct ExpandIQ4_XS {
    static constexpr Format kFormat = Format::IQ4_XS;
    static constexpr int kElements = 256;
    using Block = BlockIQ4_XS;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub) {  // 32 elements each
            const int low = (block.scales_l[sub / 2] >> (sub % 2 * 4)) & 0x0F;
            const int high = (block.scales_h >> (sub * 2)) & 3;
            const float scale = d * static_cast<float>((low | (high << 4)) - 32);
            const uint8_t* qs = block.qs + sub * 16;
            for (int i = 0; i < 16; ++i) {
                out[sub * 32 + i] = scale * static_cast<float>(kNonlinear4[qs[i] & 0x0F]);
                out[sub * 32 + 16 + i] = scale * static_cast<float>(kNonlinear4[qs[i] >> 4]);
            }
        }
    }
};

// Twice the 16 values of a float of one sign, two exponent and one mantissa bits (OCP Microscaling
// Formats 1.0).
constexpr int8_t kTwiceE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128): half of what an E8M0 exponent stands for, because kTwiceE2M1 doubles. The format gives 255 no
// meaning of its own; 0 and 1 are subnormal floats.
inline float expand_half_e8m0(uint8_t e) {
    return float_from_bits(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

struct ExpandMXFP4 {
    static constexpr Format kFormat = Format::MXFP4;
    static constexpr int kElements = 32;
    using Block = BlockMXFP4;
    static void expand(const Block& block, float* out) {
        const float d = expand_half_e8m0(block.e);
        for (int i = 0; i < 16; ++i) {
            out[i] = d * static_cast<float>(kTwiceE2M1[block.qs[i] & 0x0F]);
            out[16 + i] = d * static_cast<float>(kTwiceE2M1[block.qs[i] >> 4]);
        }
    }
};

// The leading base-3 digit, minus 1, of a byte that holds the fraction byte / 256 after `digit` digits are
// gone.
inline int ternary_digit(uint8_t byte, int digit) {
    constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
    return (static_cast<uint8_t>(byte * kPowers[digit]) * 3 >> 8) - 1;
}

struct ExpandTQ1_0 {
    static constexpr Format kFormat = Format::TQ1_0;
    static constexpr int kElements = 256;
    using Block = BlockTQ1_0;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int i = 0; i < 160; ++i)
            out[i] = d * static_cast<float>(ternary_digit(block.qs[i % 32], i / 32));
        for (int i = 0; i < 80; ++i)
            out[160 + i] = d * static_cast<float>(ternary_digit(block.qs[32 + i % 16], i / 16));
        for (int i = 0; i < 16; ++i)
            out[240 + i] = d * static_cast<float>(ternary_digit(block.qh[i % 4], i / 4));
    }
};

struct ExpandTQ2_0 {
    static constexpr Format kFormat = Format::TQ2_0;
    static constexpr int kElements = 256;
    using Block = BlockTQ2_0;
    static void expand(const Block& block, float* out) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub)  // 32 elements each
            for (int i = 0; i < 32; ++i)
                out[sub * 32 + i] =
                    d * static_cast<float>(((block.qs[sub / 4 * 32 + i] >> (sub % 4 * 2)) & 3) - 1);
    }
};

}  // namespace
}  // namespace llmcore
