// IQ4_NL: a 4-bit plane of indices into a table, then float16 scales [16 rows][8 groups of 32].
#pragma once

#include "cuda/packed/packed.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::iq4_nl> {
    static constexpr int kBytes = kNibblePlane + 256;
    static constexpr int kGroup = 32;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = false;
    static constexpr bool kSigned = true;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        take_from_table(tile, lane, step, nonlinear_table(), a);
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&)[2]) {
        half_scales(tile + kNibblePlane, lane, group, scale);
    }
};

}  // namespace llmcore::cuda
