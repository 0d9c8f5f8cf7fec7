// Panels of formats with super-blocks of 256 weights.
#pragma once

#include "kernels/cpu/linear_panels_avx2.h"
#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

// How a format that Q8x256Dot describes fills a panel. Group: columns that share a scale; Sums: how many
// products of pairs fit in 16 bits.
template <class WeightsType, int Group, int Sums>
struct SuperBlockPanels {
    using Weights = WeightsType;
    using Dot = Q8x256Dot<Weights>;
    static constexpr int kGroup = Group;
    static constexpr int kSums = Sums;
    static constexpr bool kSigned = Weights::kSigned;
    static constexpr bool kHasBias = Weights::kBias != Bias::none;
    static constexpr int64_t kColumns = 256;
    static constexpr int64_t kFewestTokens = Group == 16 ? 24 : 8;

    static bool supports(const Shape* shape) { return q8x256_supports(shape); }

    static LLMCORE_INLINE void unpack(const char* const* rows, int64_t columns, const Panel& panel) {
        using Block = typename Weights::Block;
        for (int64_t b = 0; b < columns / 256; ++b) {
            __m256i q[8][kPanelRows];
            __m256 scale[kVectors][kPanelRows], bias[kVectors][kPanelRows];
            for (int r = 0; r < kPanelRows; ++r) {
                const Weights w(reinterpret_cast<const Block*>(rows[r]) + b);
                unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
                    q[decltype(j)::value][r] = w.template q<decltype(j)::value>();
                });
                unpack_scales(w, r, scale);
                if constexpr (kHasBias) unpack_bias(w, r, bias);
            }
            unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
                constexpr int kJ = decltype(j)::value;
                interleave_rows(q[kJ], panel.q + (b * 8 + kJ) * 32 * kPanelRows);
            });
            for (int v = 0; v < kVectors; ++v) {
                interleave_values(scale[v], panel.scale + (b * kVectors + v) * 8 * kPanelRows);
                if constexpr (kHasBias)
                    interleave_values(bias[v], panel.bias + (b * kVectors + v) * 8 * kPanelRows);
            }
        }
    }

private:
    static constexpr int kVectors = 32 / Group;  // of eight groups, in a super-block

    static LLMCORE_INLINE __m256 to_floats(__m128i int16, float factor) {
        return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(int16)), _mm256_set1_ps(factor));
    }

    // The scales as scales_of_32 and scales_of_16 leave them.
    static LLMCORE_INLINE void unpack_scales(const Weights& w, int r, __m256 (*scale)[kPanelRows]) {
        const __m128i low = _mm256_castsi256_si128(w.scales);
        if constexpr (Group == 32) {
            scale[0][r] = to_floats(low, w.d);
        } else {
            const __m128i odd = _mm256_extracti128_si256(w.scales, 1);
            scale[0][r] = to_floats(_mm_unpacklo_epi16(low, odd), w.d);
            scale[1][r] = to_floats(_mm_unpackhi_epi16(low, odd), w.d);
        }
    }

    // One of 16 columns each; where 32 share one, it is there twice.
    static LLMCORE_INLINE void unpack_bias(const Weights& w, int r, __m256 (*bias)[kPanelRows]) {
        float factor;
        if constexpr (Weights::kBias == Bias::integer) {
            factor = -w.d * static_cast<float>(1 << Weights::kBiasShift);
        } else {
            factor = -w.dmin;
        }
        if constexpr (Group == 32) {
            const __m256i first = _mm256_srai_epi32(_mm256_slli_epi32(w.bias, 16), 16);
            bias[0][r] = _mm256_mul_ps(_mm256_cvtepi32_ps(first), _mm256_set1_ps(factor));
        } else {
            bias[0][r] = to_floats(_mm256_castsi256_si128(w.bias), factor);
            bias[1][r] = to_floats(_mm256_extracti128_si256(w.bias, 1), factor);
        }
    }
};

}  // namespace
}  // namespace llmcore
