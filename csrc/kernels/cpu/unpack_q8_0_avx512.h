// How Q8_0 unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q8_0 {
    static constexpr Format kFormat = Format::Q8_0;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ8_0);
    static constexpr int kOffset = 128;  // flipping the sign bit adds 128
    static constexpr bool kHasMinimum = false;

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        // Words of bytes 0-63, and of bytes 64-127 from 32 on.
        const __m512i words =
            _mm512_set4_epi64(0x0033003300330033, 0x0022002200220022, 0x0011001100110011, 0);
        const __m512i d = _mm512_permutex2var_epi16(load_bytes(p), words, load_bytes(p + 64));
        const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
        return {_mm512_xor_si512(load_4x16_bytes(p + 2, p + 36, p + 70, p + 104), sign),
                _mm512_xor_si512(load_4x16_bytes(p + 18, p + 52, p + 86, p + 120), sign),
                _mm512_cvtph_ps(_mm512_castsi512_si256(d)), _mm512_setzero_ps()};
    }
};

}  // namespace
}  // namespace llmcore
