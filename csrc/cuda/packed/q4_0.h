// Q4_0: a 4-bit plane of 2048 bytes, then float16 scales [16 rows][8 groups of 32].
#pragma once

#include "cuda/packed/packed.h"

namespace llmcore::cuda {

template <>
struct Packed<Packing::q4_0> {
    static constexpr int kBytes = 2304;
    static constexpr int kGroup = 32;
    static constexpr int kZero = 8;
    static constexpr bool kHasMin = false;
    static constexpr bool kSigned = false;

    SIMT_DEVICE static void codes(const unsigned char* tile, int lane, int step, uint32_t (&a)[4]) {
        const uint2 words =
            *reinterpret_cast<const uint2*>(tile + (step / 2 * 32 + lane) * 16 + step % 2 * 8);
        a[0] = words.x & 0x0F0F0F0FU;
        a[1] = words.x >> 4 & 0x0F0F0F0FU;
        a[2] = words.y & 0x0F0F0F0FU;
        a[3] = words.y >> 4 & 0x0F0F0F0FU;
    }

    SIMT_DEVICE static void scales(const unsigned char* tile, int lane, int group, float (&scale)[2],
                                   float (&)[2]) {
        const auto* d = reinterpret_cast<const uint16_t*>(tile + 2048);
        scale[0] = half_to_float(d[lane / 4 * 8 + group]);
        scale[1] = half_to_float(d[(lane / 4 + 8) * 8 + group]);
    }
};

}  // namespace llmcore::cuda
