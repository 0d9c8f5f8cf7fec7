// What a format's `unpack` makes of its bytes: unsigned bytes and scales.
#pragma once

#include "kernels/cpu/simd_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// Four blocks: bytes 0-15 of each in `low`, 16-31 in `high`, scales (and minimums) four times each.
struct FourBlocks {
    __m512i low;
    __m512i high;
    __m512 d;
    __m512 m;
};

// The last blocks of a row, fewer than four: from a copy, zeros behind them.
template <class F>
inline FourBlocks unpack_partial(const uint8_t* p, int64_t n_blocks) {
    alignas(64) uint8_t copy[4 * F::kBlockBytes] = {};
    __builtin_memcpy(copy, p, static_cast<size_t>(n_blocks * F::kBlockBytes));
    return F::unpack(copy);
}

constexpr int64_t kSuper = 256;

// A weight is d * scale * byte - dmin * minimum.
struct Superblock {
    __m512i bytes[4];  // lane group l of bytes[i] is unit kUnits[4 * i + l]
    __m256i scales;    // int16, a unit each, in order
    __m256i minimums;  // int16, a unit each, in order
    float d;
    float dmin;
};

inline __m512 to_floats(__m256i int16) { return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(int16)); }

}  // namespace
}  // namespace llmcore
