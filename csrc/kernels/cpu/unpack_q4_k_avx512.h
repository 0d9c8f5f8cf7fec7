// How Q4_K unpacks.
#pragma once

#include "kernels/cpu/k_scales_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q4_K {
    static constexpr Format kFormat = Format::Q4_K;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ4_K);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    // 64 bytes of nibbles: the low ones are weights 0-31 and 64-95, the high ones 32-63 and 96-127.
    static constexpr uint8_t kUnits[16] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        const __m512i a = load_bytes(p + offsetof(BlockQ4_K, qs));
        const __m512i b = load_bytes(p + offsetof(BlockQ4_K, qs) + 64);
        const KScales k = load_k_scales(p + offsetof(BlockQ4_K, scales));
        return {{_mm512_and_si512(a, nibble), _mm512_and_si512(_mm512_srli_epi16(a, 4), nibble),
                 _mm512_and_si512(b, nibble), _mm512_and_si512(_mm512_srli_epi16(b, 4), nibble)},
                k.scales,
                k.minimums,
                load_half(p),
                load_half(p + offsetof(BlockQ4_K, dmin))};
    }
};

}  // namespace
}  // namespace llmcore
