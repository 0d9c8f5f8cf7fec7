// Four blocks of 18 bytes, a half and 16 bytes of nibbles, as Q4_0 and IQ4_NL have them.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

struct NibbleBlocks {
    __m512i bytes;  // 16 of each block
    __m512 d;       // each four times
};

inline NibbleBlocks load_nibble_blocks(const uint8_t* p) {
    alignas(64) static constexpr uint8_t kBytes[64] = {
        2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17,  // block 0
        20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,  // 1
        38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53,  // 2; block 3 has a load of its own
    };
    alignas(32) static constexpr uint16_t kScales[16] = {0,  0,  0,  0,  9,  9,  9,  9,
                                                         18, 18, 18, 18, 27, 27, 27, 27};
    const __m512i v = load_bytes(p);
    const __m512i three = _mm512_permutexvar_epi8(_mm512_load_si512(kBytes), v);
    const __m512i scale_index =
        _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(kScales)));
    const __m256i d = _mm512_castsi512_si256(_mm512_permutexvar_epi16(scale_index, v));
    return {_mm512_mask_broadcast_i32x4(three, 0xF000, load_16_bytes(p + 56)), _mm512_cvtph_ps(d)};
}

}  // namespace
}  // namespace llmcore
