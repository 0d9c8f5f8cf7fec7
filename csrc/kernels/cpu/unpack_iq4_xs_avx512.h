// How IQ4_XS unpacks.
#pragma once

#include "kernels/cpu/nonlinear4_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"

namespace llmcore {
namespace {

struct IQ4_XS {
    static constexpr Format kFormat = Format::IQ4_XS;
    static constexpr int64_t kBlockBytes = sizeof(BlockIQ4_XS);
    static constexpr int kScaleColumns = 32;
    static constexpr bool kWide = true;
    // 64 bytes of nibbles: the low ones are the first 16 of four times 32 weights, the high ones the second.
    static constexpr uint8_t kUnits[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};

    // Eight 6-bit scales: low four bits in nibbles, high two bits in a 16-bit word.
    static __m256i unpack_scales(const uint8_t* p) {
        const __m128i order = _mm_setr_epi32(0, 4, 8, 12);
        const __m128i next = _mm_setr_epi32(16, 20, 24, 28);
        const auto nibbles = static_cast<int>(load_u32(p + offsetof(BlockIQ4_XS, scales_l)));
        const auto pairs = static_cast<int>(load_u16(p + offsetof(BlockIQ4_XS, scales_h)));
        const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(nibbles), _mm256_set_m128i(next, order));
        const __m256i high = _mm256_sllv_epi32(
            _mm256_srlv_epi32(_mm256_set1_epi32(pairs), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)),
            _mm256_set1_epi32(4));
        const __m256i six = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(0x0F)),
                                            _mm256_and_si256(high, _mm256_set1_epi32(0x30)));
        const __m256i scales = _mm256_sub_epi32(six, _mm256_set1_epi32(32));
        // Each is for 32 weights: the same int16 for two units.
        return _mm256_or_si256(_mm256_and_si256(scales, _mm256_set1_epi32(0xFFFF)),
                               _mm256_slli_epi32(scales, 16));
    }

    [[gnu::always_inline]] static Superblock unpack(const uint8_t* p) {
        const __m512i nibble = _mm512_set1_epi8(0x0F);
        const __m512i a = load_bytes(p + offsetof(BlockIQ4_XS, qs));
        const __m512i b = load_bytes(p + offsetof(BlockIQ4_XS, qs) + 64);
        const __m256i scales = unpack_scales(p);
        const float d = load_half(p);
        return {{nonlinear4(_mm512_and_si512(a, nibble)),
                 nonlinear4(_mm512_and_si512(_mm512_srli_epi16(a, 4), nibble)),
                 nonlinear4(_mm512_and_si512(b, nibble)),
                 nonlinear4(_mm512_and_si512(_mm512_srli_epi16(b, 4), nibble))},
                scales,
                scales,
                d,
                static_cast<float>(kNonlinear4Offset) * d};
    }
};

}  // namespace
}  // namespace llmcore
