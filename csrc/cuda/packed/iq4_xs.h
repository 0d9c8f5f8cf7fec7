// IQ4_XS: a 4-bit plane of indices into a table, then int8 scales [16 rows][8 groups of 32] and float16
// d[16 rows].
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::iq4_xs> {
    static constexpr int kBytes = kNibblePlane + 128 + 32;
    static constexpr int kGroup = 32;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = false;
    static constexpr bool kSigned = true;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_from_table(tile, lane, step, nonlinear_table(), a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&)[2]) {
        byte_scales<8>(tile + kNibblePlane, lane, group, scale);
    }
};

}  // namespace llmcore::cuda
