// How Q4_1 unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q4_1 {
    static constexpr Format kFormat = Format::Q4_1;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ4_1);
    static constexpr int kOffset = 0;
    static constexpr bool kHasMinimum = true;

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        const __m512i v = load_bytes(p);  // holds all scales and minimums
        const __m512i d_words =
            _mm512_set4_epi64(0x001E001E001E001E, 0x0014001400140014, 0x000A000A000A000A, 0);
        const __m512i m_words = _mm512_add_epi16(d_words, _mm512_set1_epi16(1));
        const __m512i d = _mm512_permutexvar_epi16(d_words, v);
        const __m512i m = _mm512_permutexvar_epi16(m_words, v);
        const __m512i bytes = load_4x16_bytes(p + 4, p + 24, p + 44, p + 64);
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        return {_mm512_and_si512(bytes, nibble), _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble),
                _mm512_cvtph_ps(_mm512_castsi512_si256(d)), _mm512_cvtph_ps(_mm512_castsi512_si256(m))};
    }
};

}  // namespace
}  // namespace llmcore
