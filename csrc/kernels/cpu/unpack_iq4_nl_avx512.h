// How IQ4_NL unpacks.
#pragma once

#include "kernels/cpu/nibble_blocks_avx512.h"
#include "kernels/cpu/nonlinear4_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct IQ4_NL {
    static constexpr Format kFormat = Format::IQ4_NL;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ4_NL);
    static constexpr int kOffset = kNonlinear4Offset;
    static constexpr bool kHasMinimum = false;

    [[gnu::always_inline]] static FourBlocks unpack(const uint8_t* p) {
        const NibbleBlocks blocks = load_nibble_blocks(p);
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        return {nonlinear4(_mm512_and_si512(blocks.bytes, nibble)),
                nonlinear4(_mm512_and_si512(_mm512_srli_epi16(blocks.bytes, 4), nibble)), blocks.d,
                _mm512_setzero_ps()};
    }
};

}  // namespace
}  // namespace llmcore
