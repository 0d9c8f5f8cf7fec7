// How the AVX-512 products cut their tokens and rows into tiles.
#pragma once

#include <stdint.h>

#include "kernels/cpu/simd_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int kPanelTokens = 6;  // 2 x 6 sums and 2 x 6 dots leave 8 registers

template <int kValue>
struct Count {
    static constexpr int value = kValue;
};

// Calls f(Count<n>) for 1 <= n <= kMost.
template <int kMost, class F>
inline void dispatch_tokens(int64_t n, const F& f) {
    if constexpr (kMost > 1) {
        if (n < kMost) return dispatch_tokens<kMost - 1>(n, f);
    }
    f(Count<kMost>{});
}

// Calls f(first token, Count<tokens>) for tiles of nearly equal size.
template <class F>
inline void for_token_tiles(int64_t m, const F& f) {
    int64_t tiles = (m + kPanelTokens - 1) / kPanelTokens;
    for (int64_t token = 0; token < m; --tiles) {
        const int64_t n = (m - token + tiles - 1) / tiles;
        dispatch_tokens<kPanelTokens>(n, [&](auto count) { f(token, count); });
        token += n;
    }
}

// Calls f(first row, Count<groups of 16 rows>): pairs of groups, and one where 16 rows or fewer are left.
template <class F>
inline void for_row_panels(int64_t begin, int64_t end, const F& f) {
    int64_t row = begin;
    for (; end - row > 16; row += 32) f(row, Count<2>{});
    if (row < end) f(row, Count<1>{});
}

// Sixteen rows from `row`, `offset` bytes in; the last row stands in for those at or beyond `end`.
inline void panel_rows(const LinearArgs& linear, int64_t row, int64_t end, int64_t offset,
                       const uint8_t** rows) {
    for (int64_t r = 0; r < 16; ++r) {
        const int64_t source = row + r < end ? row + r : end - 1;
        rows[r] = static_cast<const uint8_t*>(linear.weight) + source * linear.weight_row_bytes + offset;
    }
}

// From a panel's bytes of a row to those that the next panel has for the same lane: the row's next `bytes`,
// or, where `first` + `bytes` is the whole row, the beginning of a row 16 * groups further.
inline int64_t next_panel_distance(const LinearArgs& linear, int64_t first, int64_t bytes, int groups) {
    if (first + bytes < linear.weight_row_bytes) return bytes;
    return 16 * groups * linear.weight_row_bytes - first;
}

// Asks for `bytes` from p on, into the second level cache: the first holds the present panel.
inline void prefetch_panel_row(const uint8_t* p, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T1);
}

// One panel against a few tokens: where their activations are, and the part of the output they make.
struct PanelTile {
    const uint8_t* act = nullptr;     // the first token's values in the panel's first column
    const uint8_t* scales = nullptr;  // its scales from there
    int64_t sums_distance = 0;        // from a scale to its sum, in bytes
    int64_t act_row_bytes;
    int64_t columns;
    float* out = nullptr;
    int64_t out_stride;
    int64_t row;        // the panel's first row, as a column of the output
    __mmask16 rows[2];  // those of its rows that are wanted
    bool first;         // nothing has been summed before

    PanelTile(const LinearArgs& linear, int64_t begin, int64_t end, int64_t first_column, int64_t n_columns)
        : act_row_bytes(linear.act_row_bytes),
          columns(n_columns),
          out_stride(linear.out_stride),
          row(begin - linear.out_offset),
          rows{mask(end - begin), mask(end - begin - 16)},
          first(first_column == 0) {}

    void move_to(const LinearArgs& linear, int64_t token) { out = linear.out + token * out_stride + row; }

    __m512 read(int t, int group) const {
        return _mm512_maskz_loadu_ps(rows[group], out + t * out_stride + 16 * group);
    }
    void store(int t, int group, __m512 sums) const {
        _mm512_mask_storeu_ps(out + t * out_stride + 16 * group, rows[group], sums);
    }

private:
    static __mmask16 mask(int64_t n) {
        return static_cast<__mmask16>(n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1 << n) - 1);
    }
};

// Rough: one core reads 20 bytes of weights a nanosecond, and makes so many products when tokens share them.
inline double linear_cost(const Shape* shape, double bytes_per_weight, double products_per_ns) {
    const double weights = static_cast<double>(shape->n) * static_cast<double>(shape->k);
    const double reading = weights * bytes_per_weight / 20.0;
    const double products = weights * static_cast<double>(shape->m) / products_per_ns;
    return reading > products ? reading : products;
}

}  // namespace
}  // namespace llmcore
