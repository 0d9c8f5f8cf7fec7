// Q5_0: a 4-bit plane, a 1-bit plane with bit 4, then float16 scales [16 rows][8 groups of 32].
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::q5_0> {
    static constexpr int kBytes = kNibblePlane + kBitPlane + 256;
    static constexpr int kGroup = 32;
    static constexpr int kZero = 16;
    static constexpr bool kHasMin = false;
    static constexpr bool kSigned = false;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_nibbles(tile, lane, step, a);
        add_bits(tile + kNibblePlane, lane, step, a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&)[2]) {
        half_scales(tile + kNibblePlane + kBitPlane, lane, group, scale);
    }
};

}  // namespace llmcore::cuda
