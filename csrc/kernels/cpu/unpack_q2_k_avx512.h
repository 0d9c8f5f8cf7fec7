// How Q2_K unpacks.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q2_K {
    static constexpr Format kFormat = Format::Q2_K;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ2_K);
    static constexpr int kScaleColumns = 16;
    static constexpr bool kWide = false;
    // 64 bytes: bits 0-1 are weights 0-31 and 128-159, bits 2-3 the 32 that follow each, and so on.
    static constexpr uint8_t kUnits[16] = {0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15};

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i two_bits = _mm512_set1_epi8(3);
        const __m512i v = load_bytes(p + offsetof(BlockQ2_K, qs));
        const __m128i packed = load_16_bytes(p + offsetof(BlockQ2_K, scales));
        const __m128i nibble = _mm_set1_epi8(0x0F);
        return {{_mm512_and_si512(v, two_bits), _mm512_and_si512(_mm512_srli_epi16(v, 2), two_bits),
                 _mm512_and_si512(_mm512_srli_epi16(v, 4), two_bits),
                 _mm512_and_si512(_mm512_srli_epi16(v, 6), two_bits)},
                _mm256_cvtepu8_epi16(_mm_and_si128(packed, nibble)),
                _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(packed, 4), nibble)),
                load_half(p + offsetof(BlockQ2_K, d)),
                load_half(p + offsetof(BlockQ2_K, dmin))};
    }
};

}  // namespace
}  // namespace llmcore
