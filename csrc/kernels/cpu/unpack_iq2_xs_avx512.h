// How IQ2_XS unpacks.
#pragma once

#include "kernels/cpu/grid_blocks_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct IQ2_XS {
    static constexpr Format kFormat = Format::IQ2_XS;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ2_XS);
    static constexpr int kScaleColumns = 16;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr int kOffset = 64;

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i v = load_bytes(p + offsetof(BlockIQ2_XS, qs));
        alignas(32) uint64_t negative[4];
        _mm256_store_si256(reinterpret_cast<__m256i*>(negative),
                           add_eighth_sign(_mm512_cvtepi16_epi8(_mm512_srli_epi16(v, 9))));
        const __m256i scales = odd_scales(load_u64(p + offsetof(BlockIQ2_XS, scales)));
        const __m512i codes = look_up_codes<512>(kGridIQ2_XS.codes, v);
        const Bytes64& values = Values<kOffset>::kTableIQ2;
        const float d = 0.125F * load_half(p);
        return {{apply_signs<kOffset>(spread_eights<0>(codes, values), negative[0]),
                 apply_signs<kOffset>(spread_eights<1>(codes, values), negative[1]),
                 apply_signs<kOffset>(spread_eights<2>(codes, values), negative[2]),
                 apply_signs<kOffset>(spread_eights<3>(codes, values), negative[3])},
                scales,
                scales,
                d,
                static_cast<float>(kOffset) * d};
    }
};

}  // namespace
}  // namespace llmcore
