// How weights lie on the device: "frag16", one arrangement for every matrix kernel.
//
// A matrix of n rows and k columns is cut into super-tiles of 16 rows and 256 columns; rows and columns
// beyond the matrix are zero (scales 0). Super-tiles of 16 rows lie one after another, then those of the next
// 16 rows. A super-tile has 16 * (bytes of 256 elements) bytes: planes of code bits in the order of mma
// fragments, then scales.
//
// In a plane, lane l of a warp (g = l / 4, t = l % 4) owns rows g and g + 8. Chunk c < 4 covers columns
// [64 c, 64 c + 64); word w < 4, byte j < 4 of a lane's chunk stand for column 64 c + 16 w + 4 t + j:
//   4 bits: uint4[4 chunks][32 lanes], word w: byte j has row g in its low nibble, row g + 8 in its high one
//   8 bits: uint4[4 chunks][2][32 lanes]: [0] row g, [1] row g + 8
//   2 bits: uint2[4 chunks][32 lanes]: word h: byte j holds four codes of 2 bits, from the lowest: of (word 2
//   h, row g),
//           (word 2 h, row g + 8), (word 2 h + 1, row g), (word 2 h + 1, row g + 8)
//   1 bit:  uint32[4 chunks][32 lanes]: byte j, bit b: (word b / 2, row g + 8 * (b % 2))
//   16 bits: uint4[16 slots of 16 columns][2][32 lanes]: [0] row g, [1] row g + 8; of the four values of a
//   lane,
//           columns 16 slot + 4 t + {0, 1, 2, 3}, only 8 bytes are needed: uint2[16][2][32 lanes]
// So words 2 s and 2 s + 1 of a chunk are the A fragment of mma m16n8k32 for columns 64 c + 32 s; as 16-bit
// values, word w is the A fragment of m16n8k16 for columns 64 c + 16 w with its columns permuted: fragment
// column 2 t + e is column 4 t + e, fragment column 8 + 2 t + e is column 4 t + 2 + e. Activations in bf16
// are stored in that order (permuted_column()), in int8 in the natural one.
#pragma once

#include <stdint.h>

#include "cuda/simt.h"

namespace llmcore::cuda {

constexpr int kTileRows = 16;
constexpr int kTileCols = 256;

SIMT_BOTH int64_t tiles_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

// Where column `k` of a bf16 activation row is stored: within its 16, in the order of the fragments.
SIMT_BOTH int64_t permuted_column(int64_t k) {
    const int64_t in = k % 16;
    const int64_t t = in / 4;
    const int64_t j = in % 4;
    return k - in + (j < 2 ? 2 * t + j : 8 + 2 * t + j - 2);
}

}  // namespace llmcore::cuda
