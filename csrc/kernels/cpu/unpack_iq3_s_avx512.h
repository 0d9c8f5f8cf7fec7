// How IQ3_S unpacks.
#pragma once

#include "kernels/cpu/grid_blocks_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct IQ3_S {
    static constexpr Format kFormat = Format::IQ3_S;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ3_S);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = false;
    static constexpr uint8_t kUnits[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static constexpr int kOffset = 16;

    // Bytes with a bit each of `high` on top.
    static __m512i indices(const uint8_t* qs, uint32_t high) {
        const __m512i low = _mm512_cvtepu8_epi16(load_32_bytes(qs));
        return _mm512_mask_add_epi16(low, static_cast<__mmask32>(high), low, _mm512_set1_epi16(256));
    }

    // Eight nibbles, the low ones first, as 2 * nibble + 1 for two units each.
    static __m256i unpack_scales(uint32_t nibbles) {
        const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
        const __m256i words = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(nibbles)), shifts);
        const __m256i twice = _mm256_slli_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0x0F)), 1);
        const __m256i odd = _mm256_or_si256(twice, _mm256_set1_epi32(1));
        return _mm256_or_si256(odd, _mm256_slli_epi32(odd, 16));
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const uint8_t* qs = p + offsetof(BlockIQ3_S, qs);
        const uint8_t* qh = p + offsetof(BlockIQ3_S, qh);
        const uint8_t* negative = p + offsetof(BlockIQ3_S, signs);
        const __m256i scales = unpack_scales(load_u32(p + offsetof(BlockIQ3_S, scales)));
        const __m512i a = look_up_codes<512>(kGridIQ3_S.codes, indices(qs, load_u32(qh)));
        const __m512i b = look_up_codes<512>(kGridIQ3_S.codes, indices(qs + 32, load_u32(qh + 4)));
        const Bytes64& values = Values<kOffset>::kTableIQ3_S;
        const float d = load_half(p);
        return {{apply_signs<kOffset>(spread_fours<0>(a, values), load_u64(negative)),
                 apply_signs<kOffset>(spread_fours<1>(a, values), load_u64(negative + 8)),
                 apply_signs<kOffset>(spread_fours<0>(b, values), load_u64(negative + 16)),
                 apply_signs<kOffset>(spread_fours<1>(b, values), load_u64(negative + 24))},
                scales,
                scales,
                d,
                static_cast<float>(kOffset) * d};
    }
};

}  // namespace
}  // namespace llmcore
