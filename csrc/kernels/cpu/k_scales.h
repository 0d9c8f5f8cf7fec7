// The packed 6-bit scales that Q4_K and Q5_K have in common.
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/cpu/unrolled.h"

namespace llmcore {
namespace {

// 12 bytes hold eight scales and eight minimums of 6 bits: four of each in the low bits of the first 8 bytes,
// the others as nibbles in the last 4 and pairs of bits on top of the first 8.
struct ScalesAndMinimums {
    uint64_t scales, minimums;  // eight bytes each

    explicit LLMCORE_INLINE ScalesAndMinimums(const uint8_t* packed) {
        uint32_t words[3];
        memcpy(words, packed, sizeof(words));
        const uint32_t a = words[0], b = words[1], c = words[2];
        const uint32_t scales_high = (c & 0x0F0F0F0F) | (a >> 2 & 0x30303030);
        const uint32_t minimums_high = (c >> 4 & 0x0F0F0F0F) | (b >> 2 & 0x30303030);
        scales = (a & 0x3F3F3F3F) | static_cast<uint64_t>(scales_high) << 32;
        minimums = (b & 0x3F3F3F3F) | static_cast<uint64_t>(minimums_high) << 32;
    }
};

}  // namespace
}  // namespace llmcore
