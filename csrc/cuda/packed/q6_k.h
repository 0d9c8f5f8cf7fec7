// Q6_K: a 4-bit plane, a 2-bit plane with bits 4 and 5, then int8 scales [16 rows][16 groups of 16] and
// float16 d[16 rows].
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::q6_k> {
    static constexpr int kBytes = kNibblePlane + kCrumbPlane + 256 + 32;
    static constexpr int kGroup = 16;
    static constexpr int kZero = 32;
    static constexpr bool kHasMin = false;
    static constexpr bool kSigned = false;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_nibbles(tile, lane, step, a);
        add_crumbs(tile + kNibblePlane, lane, step, a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&)[2]) {
        byte_scales<16>(tile + kNibblePlane + kCrumbPlane, lane, group, scale);
    }
};

}  // namespace llmcore::cuda
