// How MXFP4 unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct MXFP4 {
    static constexpr Format kFormat = Format::MXFP4;
    static constexpr int64_t kBlockBytes = sizeof(BlockMXFP4);
    static constexpr int kOffset = 12;  // what the table adds to twice the values
    static constexpr bool kHasMinimum = false;

    // Nibbles in, twice the values + kOffset out.
    static __m512i values(__m512i nibbles) {
        const __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
    }

    // 2^(e - 128); 0 and 1 are subnormal: where the shift of the exponent fails, the other one is larger.
    static __m512 scales(__m512i e) {
        const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        const __m512i subnormal =
            _mm512_srlv_epi32(_mm512_set1_epi32(0x00400000), _mm512_sub_epi32(_mm512_set1_epi32(1), e));
        return _mm512_castsi512_ps(_mm512_max_epi32(normal, subnormal));
    }

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        alignas(64) static constexpr uint8_t kBytes[64] = {
            1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,  // block 0
            18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33,  // 1
            35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50,  // 2; block 3 has its own load
        };
        const __m512i exponents =
            _mm512_set_epi32(51, 51, 51, 51, 34, 34, 34, 34, 17, 17, 17, 17, 0, 0, 0, 0);
        const __m512i v = load_bytes(p);
        const __m512i three = _mm512_permutexvar_epi8(_mm512_load_si512(kBytes), v);
        const __m512i bytes = _mm512_mask_broadcast_i32x4(three, 0xF000, load_16_bytes(p + 52));
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        return {values(_mm512_and_si512(bytes, nibble)),
                values(_mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble)),
                scales(_mm512_maskz_permutexvar_epi8(0x1111111111111111, exponents, v)), _mm512_setzero_ps()};
    }
};

}  // namespace
}  // namespace llmcore
