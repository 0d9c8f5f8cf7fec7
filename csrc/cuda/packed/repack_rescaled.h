// Blocks of the formats that become s8x16 as 8-bit codes with a scale and a minimum per 16 columns. Codes
// come from the values of block_expand.h, which are scales times small integers.
#pragma once

#include <cmath>
#include <cstring>

#include "quant/block_expand.h"
#include "quant/block_expand_grid.h"

namespace llmcore::cuda {
namespace {

struct RescaledBlock {
    float scales[16];
    float mins[16];
    int8_t codes[256];
};

// Rescale types: how a block is expanded, and its scales, of which values are multiples.
template <class Rescale>
RescaledBlock rescaled(const typename Rescale::Expand::Block& block) {
    RescaledBlock result = {};
    Rescale::scales(block, result.scales);
    float values[256];
    Rescale::Expand::expand(block, values);
    for (int group = 0; group < 16; ++group) {
        const float scale = result.scales[group];
        if (scale == 0.0F || !std::isfinite(scale)) continue;
        const float inverse = 1.0F / scale;
        for (int i = group * 16; i < group * 16 + 16; ++i)  // codes are above -128: this rounds to nearest
            result.codes[i] = static_cast<int8_t>(static_cast<int>(values[i] * inverse + 128.5F) - 128);
    }
    return result;
}

struct RescaleQ2_K {
    using Expand = ExpandQ2_K;
};
// Beside a large minimum the values would not tell the codes.
template <>
RescaledBlock rescaled<RescaleQ2_K>(const BlockQ2_K& block) {
    RescaledBlock result;
    const float d = expand_half(block.d);
    const float dmin = expand_half(block.dmin);
    for (int sub = 0; sub < 16; ++sub) {
        result.scales[sub] = d * static_cast<float>(block.scales[sub] & 0x0F);
        result.mins[sub] = -(dmin * static_cast<float>(block.scales[sub] >> 4));
        const uint8_t* qs = block.qs + sub / 8 * 32 + sub % 2 * 16;
        for (int i = 0; i < 16; ++i)
            result.codes[sub * 16 + i] = static_cast<int8_t>(qs[i] >> sub / 2 % 4 * 2 & 3);
    }
    return result;
}

struct RescaleQ3_K {
    using Expand = ExpandQ3_K;
    static void scales(const BlockQ3_K& block, float* scales) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 16; ++sub) {
            const int low = sub < 8 ? block.scales[sub] & 0x0F : block.scales[sub - 8] >> 4;
            const int high = block.scales[8 + sub % 4] >> sub / 4 * 2 & 3;
            scales[sub] = d * static_cast<float>((low | high << 4) - 32);
        }
    }
};

struct RescaleIQ2_XXS {
    using Expand = ExpandIQ2_XXS;
    static void scales(const BlockIQ2_XXS& block, float* scales) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub)
            scales[2 * sub] = scales[2 * sub + 1] =
                d * (0.5F + static_cast<float>(packed_word(block.qs + 8 * sub + 4) >> 28)) * 0.25F;
    }
};

template <class Expander>
struct RescaleIQ2 {
    using Expand = Expander;
    static void scales(const typename Expander::Block& block, float* scales) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 16; ++sub)
            scales[sub] =
                d * (0.5F + static_cast<float>(block.scales[sub / 2] >> sub % 2 * 4 & 0x0F)) * 0.25F;
    }
};

struct RescaleIQ3_XXS {
    using Expand = ExpandIQ3_XXS;
    static void scales(const BlockIQ3_XXS& block, float* scales) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub)
            scales[2 * sub] = scales[2 * sub + 1] =
                d * (0.5F + static_cast<float>(packed_word(block.scales + 4 * sub) >> 28)) * 0.5F;
    }
};

struct RescaleIQ3_S {
    using Expand = ExpandIQ3_S;
    static void scales(const BlockIQ3_S& block, float* scales) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub)
            scales[2 * sub] = scales[2 * sub + 1] =
                d * static_cast<float>(1 + 2 * (block.scales[sub / 2] >> sub % 2 * 4 & 0x0F));
    }
};

// Values of IQ1 are -1, 0 and 1, shifted by an eighth: the codes are eight times that.
struct RescaleIQ1_S {
    using Expand = ExpandIQ1_S;
    static void scales(const BlockIQ1_S& block, float* scales) {
        const float d = expand_half(block.d);
        for (int sub = 0; sub < 8; ++sub)
            scales[2 * sub] = scales[2 * sub + 1] =
                d * static_cast<float>(2 * (block.qh[sub] >> 12 & 7) + 1) * 0.125F;
    }
};

struct RescaleIQ1_M {
    using Expand = ExpandIQ1_M;
    static void scales(const BlockIQ1_M& block, float* scales) {
        const float d = expand_half(scattered_half(block));
        for (int sub = 0; sub < 16; ++sub)
            scales[sub] = d * static_cast<float>(2 * (block.scales[sub / 4] >> sub % 4 * 3 & 7) + 1) * 0.125F;
    }
};

template <class Expander>
struct RescaleTernary {
    using Expand = Expander;
    static void scales(const typename Expander::Block& block, float* scales) {
        for (int sub = 0; sub < 16; ++sub) scales[sub] = expand_half(block.d);
    }
};

}  // namespace
}  // namespace llmcore::cuda
