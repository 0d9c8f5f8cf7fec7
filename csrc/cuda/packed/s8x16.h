// Formats without a packing of their own: an 8-bit plane, then float32 scales and minimums, both
// [16 rows][16 groups of 16].
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::s8x16> {
    static constexpr int kBytes = kBytePlane + 2048;
    static constexpr int kGroup = 16;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    static constexpr bool kSigned = true;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_bytes(tile, lane, step, a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&min)[2]) {
        const auto* factors = reinterpret_cast<const float*>(tile + kBytePlane) + lane / 4 * 16 + group;
        scale[0] = factors[0];
        scale[1] = factors[8 * 16];
        min[0] = factors[256];
        min[1] = factors[256 + 8 * 16];
    }
};

}  // namespace llmcore::cuda
