// Panels of formats with blocks of 32 weights.
#pragma once

#include "kernels/cpu/linear_panels_avx2.h"
#include "kernels/cpu/linear_q8x32_avx2.h"

namespace llmcore {
namespace {

// Weights that are functions of nibbles alone: static __m256i of_nibbles(__m256i).
template <class Weights>
concept OfNibbles = requires(__m256i nibbles) { Weights::of_nibbles(nibbles); };

// How a format that Q8x32Dot describes fills a panel. Sums: how many products of pairs fit in 16 bits.
template <class WeightsType, int Sums>
struct BlockPanels {
    using Weights = WeightsType;
    using Block = typename Weights::Block;
    using Dot = Q8x32Dot<Weights>;
    static constexpr int kGroup = 32;
    static constexpr int kSums = Sums;
    static constexpr bool kSigned = Weights::kSigned;
    static constexpr ScaleKind kScales = ScaleKind::real;
    static constexpr PanelBias kBias = Weights::kOffset == Offset::none ? PanelBias::none : PanelBias::real;
    static constexpr int64_t kColumns = 32;
    static constexpr int64_t kFewestTokens = 4;

    static bool supports(const Shape* shape) { return q8x32_supports(shape); }

    static LLMCORE_INLINE void unpack(const char* const* rows, int64_t columns, const Panel& panel) {
        const int64_t blocks = columns / 32;
        const Block* block[kPanelRows];
        for (int r = 0; r < kPanelRows; ++r) block[r] = reinterpret_cast<const Block*>(rows[r]);
        for (int64_t first = 0; first < blocks; first += 8) {
            const int64_t left = blocks - first;
            unpack_scales(block, first, left < 8 ? static_cast<int>(left) : 8, panel);
        }
        int64_t b = 0;
        if constexpr (OfNibbles<Weights>) {
            for (; b < blocks; b += 2) {
                const int count = blocks - b < 2 ? 1 : 2;
                __m256i bytes[kPanelRows];
                for (int r = 0; r < kPanelRows; ++r) {
                    const __m128i upper = load_128(block[r][b + count - 1].qs);
                    bytes[r] =
                        _mm256_inserti128_si256(_mm256_castsi128_si256(load_128(block[r][b].qs)), upper, 1);
                }
                transpose(bytes);
                store_nibble_halves<Weights>(bytes, count, panel.q + b * 32 * kPanelRows);
            }
        } else {
            for (; b < blocks; ++b) {
                __m256i q[kPanelRows];
                for (int r = 0; r < kPanelRows; ++r) q[r] = Weights::q(block[r][b]);
                store_transposed(q, panel.q + b * 32 * kPanelRows);
            }
        }
    }

private:
    static LLMCORE_INLINE void unpack_scales(const Block* const (&block)[kPanelRows], int64_t first,
                                             int count, const Panel& panel) {
        __m256 d[kPanelRows], offset[kPanelRows];
        for (int r = 0; r < kPanelRows; ++r) {
            const GroupScales scales = count == 8 ? open_full_group<Weights>(block[r] + first)
                                                  : open_group<Weights>(block[r] + first, count);
            d[r] = scales.d;
            offset[r] = scales.offset;
        }
        store_scales(d, count, panel.scale + first * 32);
        if constexpr (kBias == PanelBias::real) store_scales(offset, count, panel.bias + first * 32);
    }

    static LLMCORE_INLINE void store_scales(const __m256 (&rows)[kPanelRows], int count, char* to) {
        if (count == 8) {
            store_transposed(rows, to);
        } else {
            alignas(32) char all[8 * 32];
            store_transposed(rows, all);
            memcpy(to, all, static_cast<size_t>(count) * 32);
        }
    }
};

}  // namespace
}  // namespace llmcore
