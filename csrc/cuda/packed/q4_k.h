// Q4_K: a 4-bit plane, then the first 16 bytes of the blocks (d, dmin, 6-bit scales and minimums) of 16 rows.
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::q4_k> {
    static constexpr int kBytes = kNibblePlane + 256;
    static constexpr int kGroup = 32;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    static constexpr bool kSigned = false;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_nibbles(tile, lane, step, a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&min)[2]) {
        super_scales_mins(tile + kNibblePlane, lane, group, scale, min);
    }
};

}  // namespace llmcore::cuda
