// How Q5_1 unpacks.
#pragma once

#include "kernels/cpu/fifth_bits_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q5_1 {
    static constexpr Format kFormat = Format::Q5_1;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ5_1);
    static constexpr int kOffset = 0;
    static constexpr bool kHasMinimum = true;

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        // Words of bytes 0-63, and of bytes 32-95 from 32 on.
        const __m512i d_words =
            _mm512_set4_epi64(0x0034003400340034, 0x0018001800180018, 0x000C000C000C000C, 0);
        const __m512i m_words = _mm512_add_epi16(d_words, _mm512_set1_epi16(1));
        const __m512i a = load_bytes(p);
        const __m512i b = load_bytes(p + 32);
        const __m512i d = _mm512_permutex2var_epi16(a, d_words, b);
        const __m512i m = _mm512_permutex2var_epi16(a, m_words, b);
        const __m512i bytes = load_4x16_bytes(p + 8, p + 32, p + 56, p + 80);
        const FifthBits bits = load_fifth_bits(p + 4, kBlockBytes);
        return {low_fives(bytes, bits), high_fives(bytes, bits), _mm512_cvtph_ps(_mm512_castsi512_si256(d)),
                _mm512_cvtph_ps(_mm512_castsi512_si256(m))};
    }
};

}  // namespace
}  // namespace llmcore
