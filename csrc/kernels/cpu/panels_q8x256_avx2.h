// Panels of formats with super-blocks of 256 weights.
#pragma once

#include "kernels/cpu/linear_panels_avx2.h"
#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

// Weights whose bytes are transposed before they are taken apart: fewer than their weights.
//     constexpr int kParts: pieces of a super-block that need nothing of each other; constexpr int
//     kPartVectors of 32 bytes each; template <int Part, int I> const uint8_t* bytes() const; template <int
//     J> static __m256i codes(const Vectors&): weights 32J to 32J + 31 of a part from its vectors [0] to
//     [kPartVectors - 1], byte by byte.
template <class Weights>
concept TakenApart = requires { Weights::kParts; };

// How a format that Q8x256Dot describes fills a panel. Group: columns that share a scale; Sums: how many
// products of pairs fit in 16 bits.
template <class WeightsType, int Group, int Sums>
struct SuperBlockPanels {
    using Weights = WeightsType;
    using Block = typename Weights::Block;
    using Dot = GroupsDot<SuperBlockGroups<Weights, Group>>;
    static constexpr int kGroup = Group;
    static constexpr int kSums = Sums;
    static constexpr bool kSigned = Weights::kSigned;
    static constexpr ScaleKind kScales = ScaleKind::integer;
    static constexpr PanelBias kBias = Weights::kBias == Bias::none      ? PanelBias::none
                                       : Weights::kBias == Bias::integer ? PanelBias::integer
                                       : Group == 32                     ? PanelBias::real
                                                                         : PanelBias::minimum;
    static constexpr int64_t kColumns = 256;
    static constexpr int64_t kFewestTokens = Group == 16 ? 4 : 3;

    static bool supports(const Shape* shape) { return q8x256_supports(shape); }

    static LLMCORE_INLINE void unpack(const char* const* rows, int64_t columns, const Panel& panel) {
        for (int64_t b = 0; b < columns / 256; ++b) {
            const Block* block[kPanelRows];
            for (int r = 0; r < kPanelRows; ++r) block[r] = reinterpret_cast<const Block*>(rows[r]) + b;
            unpack_scales(block, b, panel);
            unpack_codes(block, panel.q + b * 256 * kPanelRows);
        }
    }

private:
    static LLMCORE_INLINE void unpack_scales(const Block* const (&block)[kPanelRows], int64_t b,
                                             const Panel& panel) {
        constexpr int kVectors = 32 / Group;  // of eight scales
        __m256i scale[kVectors][kPanelRows], bias[kPanelRows];
        alignas(32) float d[kPanelRows], dmin[kPanelRows];
        for (int r = 0; r < kPanelRows; ++r) {
            const Weights w(block[r]);
            d[r] = w.d;
            if constexpr (Weights::kBias == Bias::minimum) dmin[r] = w.dmin;
            if constexpr (Weights::kBias != Bias::none) bias[r] = w.bias;
            // Of 32: eight, in both halves. Of 16: as scales_of_16 leaves them.
            const __m128i low = _mm256_castsi256_si128(w.scales);
            if constexpr (Group == 32) {
                scale[0][r] = _mm256_cvtepi16_epi32(low);
            } else {
                const __m128i odd = _mm256_extracti128_si256(w.scales, 1);
                scale[0][r] = _mm256_cvtepi16_epi32(_mm_unpacklo_epi16(low, odd));
                scale[1][r] = _mm256_cvtepi16_epi32(_mm_unpackhi_epi16(low, odd));
            }
        }
        float* ends = panel.ends + b * 16;
        _mm256_storeu_ps(ends, _mm256_load_ps(d));
        if constexpr (Weights::kBias == Bias::minimum) _mm256_storeu_ps(ends + 8, _mm256_load_ps(dmin));
        for (int v = 0; v < kVectors; ++v) {
            transpose(scale[v]);
            for (int i = 0; i < 8; ++i)
                store_256(panel.scale + ((b * kVectors + v) * 8 + i) * 32, scale_lane(scale[v][i]));
        }
        if constexpr (Weights::kBias != Bias::none) {
            // Pairs of int16, each for 16 columns, are words of a row.
            transpose(bias);
            for (int i = 0; i < 8; ++i) {
                char* to = panel.bias + (b * 8 + i) * 32;
                if constexpr (kBias == PanelBias::real) {
                    const __m256i first = _mm256_srai_epi32(_mm256_slli_epi32(bias[i], 16), 16);
                    const __m256 minimum = _mm256_mul_ps(_mm256_cvtepi32_ps(first), _mm256_load_ps(dmin));
                    _mm256_storeu_ps(reinterpret_cast<float*>(to),
                                     _mm256_sub_ps(_mm256_setzero_ps(), minimum));
                } else if constexpr (kBias == PanelBias::integer) {
                    const __m256i shifted = _mm256_slli_epi16(bias[i], Weights::kBiasShift);
                    store_256(to, _mm256_sub_epi16(_mm256_setzero_si256(), shifted));
                } else {
                    store_256(to, bias[i]);
                }
            }
        }
    }

    static LLMCORE_INLINE void unpack_codes(const Block* const (&block)[kPanelRows], uint8_t* to) {
        if constexpr (TakenApart<Weights>) {
            unrolled<0, Weights::kParts>([&](auto part) __attribute__((always_inline)) {
                constexpr int kPart = decltype(part)::value;
                constexpr int kVectors = Weights::kPartVectors;
                __m256i bytes[kVectors][kPanelRows];
                unrolled<0, kVectors>([&](auto i) __attribute__((always_inline)) {
                    constexpr int kI = decltype(i)::value;
                    for (int r = 0; r < kPanelRows; ++r)
                        bytes[kI][r] = load_256(Weights::template bytes<kPart, kI>(*block[r]));
                    transpose(bytes[kI]);
                });
                unrolled<0, 8 / Weights::kParts>([&](auto j) __attribute__((always_inline)) {
                    constexpr int kJ = decltype(j)::value;
                    uint8_t* group = to + (kPart * 8 / Weights::kParts + kJ) * 32 * kPanelRows;
                    for (int s = 0; s < 8; ++s) {
                        __m256i vectors[kVectors];
                        for (int i = 0; i < kVectors; ++i) vectors[i] = bytes[i][s];
                        store_256(group + 32 * s, Weights::template codes<kJ>(vectors));
                    }
                });
            });
        } else {
            for (int pair = 0; pair < 4; ++pair) {
                __m256i bytes[kPanelRows];
                for (int r = 0; r < kPanelRows; ++r) bytes[r] = load_256(block[r]->qs + 32 * pair);
                transpose(bytes);
                store_nibble_halves<Weights>(bytes, 2, to + pair * 64 * kPanelRows);
            }
        }
    }
};

// Weights 32J to 32J + 31 of a super-block whose weights are TakenApart.
template <class Weights, int J>
LLMCORE_INLINE __m256i codes_of(const typename Weights::Block& block) {
    constexpr int kOfPart = 8 / Weights::kParts;
    __m256i vectors[Weights::kPartVectors];
    unrolled<0, Weights::kPartVectors>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        vectors[kI] = load_256(Weights::template bytes<J / kOfPart, kI>(block));
    });
    return Weights::template codes<J % kOfPart>(vectors);
}

}  // namespace
}  // namespace llmcore
