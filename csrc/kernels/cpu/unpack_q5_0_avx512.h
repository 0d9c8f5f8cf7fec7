// How Q5_0 unpacks.
#pragma once

#include "kernels/cpu/fifth_bits_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q5_0 {
    static constexpr Format kFormat = Format::Q5_0;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ5_0);
    static constexpr int kOffset = 16;
    static constexpr bool kHasMinimum = false;

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        // Words of bytes 0-63, and of bytes 24-87 from 32 on.
        const __m512i words =
            _mm512_set4_epi64(0x0035003500350035, 0x0016001600160016, 0x000B000B000B000B, 0);
        const __m512i d = _mm512_permutex2var_epi16(load_bytes(p), words, load_bytes(p + 24));
        const __m512i bytes = load_4x16_bytes(p + 6, p + 28, p + 50, p + 72);
        const FifthBits bits = load_fifth_bits(p + 2, kBlockBytes);
        return {low_fives(bytes, bits), high_fives(bytes, bits), _mm512_cvtph_ps(_mm512_castsi512_si256(d)),
                _mm512_setzero_ps()};
    }
};

}  // namespace
}  // namespace llmcore
