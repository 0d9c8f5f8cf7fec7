// How IQ3_XXS unpacks.
#pragma once

#include "kernels/cpu/grid_blocks_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct IQ3_XXS {
    static constexpr Format kFormat = Format::IQ3_XXS;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ3_XXS);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;  // 126 * 127 * 2 just fits 16 bits
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr int kOffset = 64;

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const uint8_t* qs = p + offsetof(BlockIQ3_XXS, qs);
        const SignedScales s(load_32_bytes(p + offsetof(BlockIQ3_XXS, scales)));
        const __m512i first = _mm512_cvtepu8_epi16(load_32_bytes(qs));
        const __m512i second = _mm512_cvtepu8_epi16(load_32_bytes(qs + 32));
        const __m512i a = look_up_codes<256>(kGridIQ3_XXS.codes, first);
        const __m512i b = look_up_codes<256>(kGridIQ3_XXS.codes, second);
        const Bytes64& values = Values<kOffset>::kTableIQ3_XXS;
        const float d = 0.25F * load_half(p);
        return {{apply_signs<kOffset>(spread_fours<0>(a, values), s.negative[0]),
                 apply_signs<kOffset>(spread_fours<1>(a, values), s.negative[1]),
                 apply_signs<kOffset>(spread_fours<0>(b, values), s.negative[2]),
                 apply_signs<kOffset>(spread_fours<1>(b, values), s.negative[3])},
                s.scales,
                s.scales,
                d,
                static_cast<float>(kOffset) * d};
    }
};

}  // namespace
}  // namespace llmcore
