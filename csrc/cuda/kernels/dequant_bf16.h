// Packed weights (frag16.h) to the bf16 A fragments of mma m16n8k16 and of wgmma m64nNk16, in registers.
#pragma once

#include "cuda/packed/packed.h"

namespace llmcore::cuda {

template <Packing P>
struct DequantBf16 {
    using Format = Packed<P>;
    static constexpr int kBytes = Format::kBytes;
    // Codes without a zero point are centred before they meet the scale: what is left of the minimum is then
    // small beside the values, and so is its rounding to bf16.
    static constexpr int kBits = P == Packing::q5_1 || P == Packing::q5_k ? 5 : 4;
    static constexpr int kCentre =
        Format::kHasMin && !Format::kSigned ? Format::kZero + (1 << (kBits - 1)) : Format::kZero;

    struct Group {
        uint32_t scale[2], min[2];  // of rows g and g + 8: bf16 pairs, or with kSigned floats
    };

    SIMT_DEVICE static Group group(const unsigned char* tile, int lane, int index) {
        float scale[2];
        float min[2] = {0.0F, 0.0F};
        Format::scales(tile, lane, index, scale, min);
        Group result;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            if constexpr (Format::kSigned) {
                // For fragment()'s numbers 128.5 + code / 256. Scales of float16 stay exact: 11 + 9 bits.
                result.scale[i] = __float_as_uint(scale[i] * 256.0F);
                result.min[i] = __float_as_uint(min[i] - scale[i] * (32896.0F + Format::kZero));
            } else {
                result.scale[i] = pack_bf16x2(scale[i], scale[i]);
                const float rest = min[i] + scale[i] * static_cast<float>(kCentre - Format::kZero);
                result.min[i] = pack_bf16x2(rest, rest);
            }
        }
        return result;
    }

    // Four codes of one row to the bf16 pairs of columns (0, 1) and (2, 3).
    SIMT_DEVICE static void pairs(uint32_t codes, uint32_t scale, uint32_t min, uint32_t& low,
                                  uint32_t& high) {
        if constexpr (Format::kSigned) {
            const uint32_t biased = codes ^ 0x80808080U;
            const float s = __uint_as_float(scale);
            const float m = __uint_as_float(min);
            const float v0 = fmaf(__uint_as_float(__byte_perm(biased, 0x43000000U, 0x7504)), s, m);
            const float v1 = fmaf(__uint_as_float(__byte_perm(biased, 0x43000000U, 0x7514)), s, m);
            const float v2 = fmaf(__uint_as_float(__byte_perm(biased, 0x43000000U, 0x7524)), s, m);
            const float v3 = fmaf(__uint_as_float(__byte_perm(biased, 0x43000000U, 0x7534)), s, m);
            low = pack_bf16x2(v0, v1);
            high = pack_bf16x2(v2, v3);
        } else {
            constexpr uint32_t kBias = (0x4300U + kCentre) * 0x10001U;         // 128 + kCentre, twice
            low = bf16x2_sub(__byte_perm(codes, 0x43434343U, 0x4140), kBias);  // 128 + code, exact
            high = bf16x2_sub(__byte_perm(codes, 0x43434343U, 0x4342), kBias);
            if constexpr (Format::kHasMin) {
                low = bf16x2_fma(low, scale, min);
                high = bf16x2_fma(high, scale, min);
            } else {
                low = bf16x2_mul(low, scale);
                high = bf16x2_mul(high, scale);
            }
        }
    }

    SIMT_DEVICE static void fragment(uint32_t codes, uint32_t codes8, const Group& group, uint32_t (&a)[4]) {
        pairs(codes, group.scale[0], group.min[0], a[0], a[2]);
        pairs(codes8, group.scale[1], group.min[1], a[1], a[3]);
    }

    // Columns [32 step, 32 step + 32) of the super-tile: a[0] the first 16 columns, a[1] the others.
    SIMT_DEVICE static void step32(const unsigned char* tile, int lane, int step, uint32_t (&a)[2][4]) {
        uint32_t codes[4];
        Format::codes(tile, lane, step, codes);
        if constexpr (Format::kGroup == 32) {
            const Group both = group(tile, lane, step);
            fragment(codes[0], codes[1], both, a[0]);
            fragment(codes[2], codes[3], both, a[1]);
        } else {
            fragment(codes[0], codes[1], group(tile, lane, 2 * step), a[0]);
            fragment(codes[2], codes[3], group(tile, lane, 2 * step + 1), a[1]);
        }
    }
};

template <Packing P>
struct DequantFloats {
    static constexpr int kBytes = kTileRows * kTileCols * 2;

    SIMT_DEVICE static uint32_t convert(uint32_t pair) {
        if constexpr (P == Packing::bf16)
            return pair;
        else
            return pack_bf16x2(half_to_float(static_cast<uint16_t>(pair & 0xFFFFU)),
                               half_to_float(static_cast<uint16_t>(pair >> 16)));
    }

    SIMT_DEVICE static void step16(const unsigned char* tile, int lane, int slot, uint32_t (&a)[4]) {
        const auto* planes = reinterpret_cast<const uint2*>(tile) + slot * 2 * kWarp + lane;
        const uint2 low = planes[0];
        const uint2 high = planes[kWarp];
        a[0] = convert(low.x);
        a[1] = convert(high.x);
        a[2] = convert(low.y);
        a[3] = convert(high.y);
    }

    SIMT_DEVICE static void step32(const unsigned char* tile, int lane, int step, uint32_t (&a)[2][4]) {
        step16(tile, lane, 2 * step, a[0]);
        step16(tile, lane, 2 * step + 1, a[1]);
    }
};

template <>
struct DequantBf16<Packing::f16> : DequantFloats<Packing::f16> {};
template <>
struct DequantBf16<Packing::bf16> : DequantFloats<Packing::bf16> {};

}  // namespace llmcore::cuda
