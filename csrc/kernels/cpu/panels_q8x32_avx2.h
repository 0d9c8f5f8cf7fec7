// Panels of formats with blocks of 32 weights.
#pragma once

#include "kernels/cpu/linear_panels_avx2.h"
#include "kernels/cpu/linear_q8x32_avx2.h"

namespace llmcore {
namespace {

// How a format that Q8x32Dot describes fills a panel. Sums: how many products of pairs fit in 16 bits.
template <class WeightsType, int Sums>
struct BlockPanels {
    using Weights = WeightsType;
    using Dot = Q8x32Dot<Weights>;
    static constexpr int kGroup = 32;
    static constexpr int kSums = Sums;
    static constexpr bool kSigned = Weights::kSigned;
    static constexpr bool kHasBias = Weights::kOffset != Offset::none;
    static constexpr int64_t kColumns = 32;
    static constexpr int64_t kFewestTokens = 8;

    static bool supports(const Shape* shape) { return q8x32_supports(shape); }

    static LLMCORE_INLINE void unpack(const char* const* rows, int64_t columns, const Panel& panel) {
        using Block = typename Weights::Block;
        const int64_t blocks = columns / 32;
        int64_t first = 0;
        for (; first + 8 <= blocks; first += 8) {
            __m256 d[kPanelRows], offset[kPanelRows];
            for (int r = 0; r < kPanelRows; ++r) {
                const GroupScales scales =
                    open_full_group<Weights>(reinterpret_cast<const Block*>(rows[r]) + first);
                d[r] = scales.d;
                offset[r] = scales.offset;
            }
            interleave_values(d, panel.scale + first * kPanelRows);
            if constexpr (kHasBias) interleave_values(offset, panel.bias + first * kPanelRows);
        }
        for (int r = 0; r < kPanelRows && first < blocks; ++r) {
            const int count = static_cast<int>(blocks - first);
            const GroupScales scales =
                open_group<Weights>(reinterpret_cast<const Block*>(rows[r]) + first, count);
            alignas(32) float d[8], offset[8];
            _mm256_store_ps(d, scales.d);
            _mm256_store_ps(offset, scales.offset);
            for (int j = 0; j < count; ++j) {
                panel.scale[(first + j) * kPanelRows + r] = d[j];
                if constexpr (kHasBias) panel.bias[(first + j) * kPanelRows + r] = offset[j];
            }
        }
        for (int64_t b = 0; b < blocks; ++b) {
            __m256i q[kPanelRows];
            for (int r = 0; r < kPanelRows; ++r)
                q[r] = Weights::q(reinterpret_cast<const Block*>(rows[r])[b]);
            interleave_rows(q, panel.q + b * 32 * kPanelRows);
        }
    }
};

}  // namespace
}  // namespace llmcore
