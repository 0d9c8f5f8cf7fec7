// The vectors that the weights of IQ1, IQ2 and IQ3 are drawn from. POD only; the tables are data of
// grids.cpp.
#pragma once

#include <stdint.h>

namespace llmcore {

// `kSize` vectors of eight weights (uint64_t) or four (uint32_t), the first weight in the lowest byte.
template <class Vector, int kSize>
struct Grid {
    alignas(64) Vector values[kSize];
};

// codes: the same with 2 or 3 bits a weight, the first in the lowest bits.
template <class Vector, int kSize>
struct CodedGrid : Grid<Vector, kSize> {
    alignas(64) uint16_t codes[kSize];
};

extern const CodedGrid<uint64_t, 256> kGridIQ2_XXS;  // 8, 25 and 43
extern const CodedGrid<uint64_t, 512> kGridIQ2_XS;
extern const Grid<uint64_t, 1024> kGridIQ2_S;
extern const CodedGrid<uint32_t, 256> kGridIQ3_XXS;  // 4, 12 to 52, 62
extern const CodedGrid<uint32_t, 512> kGridIQ3_S;    // 1, 3 to 15
extern const Grid<uint64_t, 2048> kGridIQ1;          // 0, 1 and 2: what the format means, plus 1

}  // namespace llmcore
