// How IQ2_XXS unpacks.
#pragma once

#include "kernels/cpu/grid_blocks_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct IQ2_XXS {
    static constexpr Format kFormat = Format::IQ2_XXS;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ2_XXS);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr int kOffset = 64;

    // Four bytes of every eight, as 16-bit lanes.
    static __m512i indices(__m512i v) {
        static constexpr Bytes64 kOrder = [] {
            Bytes64 order = {};
            for (int i = 0; i < 32; ++i) order.of[2 * i] = static_cast<uint8_t>(i / 4 * 8 + i % 4);
            return order;
        }();
        return _mm512_maskz_permutexvar_epi8(0x5555555555555555, _mm512_load_si512(kOrder.of), v);
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i v = load_bytes(p + offsetof(BlockIQ2_XXS, qs));
        const SignedScales s(_mm512_cvtepi64_epi32(_mm512_srli_epi64(v, 32)));
        const __m512i codes = look_up_codes<256>(kGridIQ2_XXS.codes, indices(v));
        const Bytes64& values = Values<kOffset>::kTableIQ2;
        const float d = 0.125F * load_half(p);
        return {{apply_signs<kOffset>(spread_eights<0>(codes, values), s.negative[0]),
                 apply_signs<kOffset>(spread_eights<1>(codes, values), s.negative[1]),
                 apply_signs<kOffset>(spread_eights<2>(codes, values), s.negative[2]),
                 apply_signs<kOffset>(spread_eights<3>(codes, values), s.negative[3])},
                s.scales,
                s.scales,
                d,
                static_cast<float>(kOffset) * d};
    }
};

}  // namespace
}  // namespace llmcore
