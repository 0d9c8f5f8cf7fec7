// How Q4_0 unpacks.
#pragma once

#include "kernels/cpu/nibble_blocks_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct Q4_0 {
    static constexpr Format kFormat = Format::Q4_0;
    static constexpr int64_t kBlockBytes = sizeof(BlockQ4_0);
    static constexpr int kOffset = 8;
    static constexpr bool kHasMinimum = false;

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        const NibbleBlocks blocks = load_nibble_blocks(p);
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        return {_mm512_and_si512(blocks.bytes, nibble),
                _mm512_and_si512(_mm512_srli_epi16(blocks.bytes, 4), nibble), blocks.d, _mm512_setzero_ps()};
    }
};

}  // namespace
}  // namespace llmcore
