// MXFP4: a 4-bit plane of E2M1 floats, whose doubles are the codes, then bfloat16 scales [16 rows][8 groups
// of 32], powers of two.
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::mxfp4> {
    static constexpr int kBytes = kNibblePlane + 256;
    static constexpr int kGroup = 32;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = false;
    static constexpr bool kSigned = true;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_from_table(tile, lane, step, twice_e2m1_table(), a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&)[2]) {
        const unsigned char* row = tile + kNibblePlane + lane / 4 * 16;
        scale[0] = bf16_to_float(half_of(row, group));
        scale[1] = bf16_to_float(half_of(row + 8 * 16, group));
    }
};

}  // namespace llmcore::cuda
