// What each packed format is: how a matrix kernel takes codes and scales out of a super-tile (frag16.h).
#pragma once

#include <stdint.h>

#include "cuda/frag16.h"

namespace llmcore::cuda {

// How a matrix lies on the device. Formats without a packing of their own become s8x16 as they are loaded:
// 8-bit codes, a float32 scale and a float32 minimum per 16 columns, exact for all of them.
enum class Packing : uint8_t {
    q4_0,
    q4_1,
    q5_0,
    q5_1,
    q8_0,
    q4_k,
    q5_k,
    q6_k,
    iq4_nl,
    iq4_xs,
    mxfp4,
    s8x16,
    f16,
    bf16,
    f32
};

// Packed<P>, one specialization a file in this folder, for the packings with integer codes:
//   kBytes   of a super-tile, a multiple of 16
//   kGroup   16 or 32: columns that share a scale
//   kZero    a value is scale * (code - kZero) + min
//   kHasMin  whether there are minimums
//   kSigned  codes are int8; otherwise unsigned and below 128
//   codes(tile, lane, step, a)   the A fragment of mma m16n8k32 for columns [32 step, 32 step + 32), step <
//   8:
//                                a[0], a[1]: the first 16 columns of rows g and g + 8; a[2], a[3]: the other
//                                16
//   scales(tile, lane, group, scale, min)   of rows g and g + 8, group < 256 / kGroup; min only with kHasMin
// `tile` may be in shared or in global memory and is aligned to 16.
template <Packing P>
struct Packed;

}  // namespace llmcore::cuda
