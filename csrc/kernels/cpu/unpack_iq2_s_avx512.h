// How IQ2_S unpacks.
#pragma once

#include "kernels/cpu/grid_blocks_avx512.h"
#include "kernels/cpu/grid_vectors_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"
#include "quant/grids.h"

namespace llmcore {
namespace {

struct IQ2_S {
    static constexpr Format kFormat = Format::IQ2_S;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ2_S);
    static constexpr int kScaleColumns = 16;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr int kOffset = 64;

    // Weights 64 * part and up, plus kOffset.
    [[gnu::always_inline]] static __m512i weights(const uint8_t* p, int part) {
        const uint8_t* qs = p + offsetof(BlockIQ2_S, qs) + 8 * part;
        const uint8_t* qh = p + offsetof(BlockIQ2_S, qh) + 2 * part;
        constexpr uint64_t kHigh = 0x0300030003000300;
        const __m512i values = load_eight_vectors(kGridIQ2_S.values, join_indices(load_u32(qs), qh[0], kHigh),
                                                  join_indices(load_u32(qs + 4), qh[1], kHigh));
        return apply_signs<kOffset>(_mm512_add_epi8(values, _mm512_set1_epi8(kOffset)),
                                    load_u64(p + offsetof(BlockIQ2_S, signs) + 8 * part));
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m256i scales = odd_scales(load_u64(p + offsetof(BlockIQ2_S, scales)));
        const float d = 0.125F * load_half(p);
        return {{weights(p, 0), weights(p, 1), weights(p, 2), weights(p, 3)},
                scales,
                scales,
                d,
                static_cast<float>(kOffset) * d};
    }
};

}  // namespace
}  // namespace llmcore
