// How TQ2_0 unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct TQ2_0 {
    static constexpr Format kFormat = Format::TQ2_0;
    static constexpr int64_t kBlockBytes = sizeof(BlockTQ2_0);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    // 64 bytes of four pairs of bits: the lowest are weights 0-31 and 128-159, and so on.
    static constexpr uint8_t kUnits[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i two = _mm512_set1_epi8(3);
        const __m512i v = load_bytes(p);
        const __m256i ones = _mm256_set1_epi16(1);
        const float d = load_half(p + offsetof(BlockTQ2_0, d));
        return {
            {_mm512_and_si512(v, two), _mm512_and_si512(_mm512_srli_epi16(v, 2), two),
             _mm512_and_si512(_mm512_srli_epi16(v, 4), two), _mm512_and_si512(_mm512_srli_epi16(v, 6), two)},
            ones,
            ones,
            d,
            d};
    }
};

}  // namespace
}  // namespace llmcore
