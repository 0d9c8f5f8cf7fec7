// float16 and bfloat16, bits unchanged: uint2[16 slots of 16 columns][2][32 lanes]: four values a lane, of
// row g in [0] and of row g + 8 in [1].
#pragma once

#include "cuda/packed/packed.h"

namespace llmcore::cuda {

struct PackedFloat16 {
    static constexpr int kBytes = kTileRows * kTileCols * 2;

    // Columns 16 slot + 4 t + 0..3 of row g + 8 half, slot < 16.
    SIMT_DEVICE static uint2 values(const unsigned char* tile, int lane, int slot, int half) {
        return reinterpret_cast<const uint2*>(tile)[(slot * 2 + half) * kWarp + lane];
    }
};

template <>
struct Packed<Packing::f16> : PackedFloat16 {
    SIMT_DEVICE static float to_float(uint16_t bits) { return half_to_float(bits); }
};

template <>
struct Packed<Packing::bf16> : PackedFloat16 {
    SIMT_DEVICE static float to_float(uint16_t bits) { return bf16_to_float(bits); }
};

}  // namespace llmcore::cuda
