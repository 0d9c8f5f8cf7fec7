// The product of the formats with blocks of 32 and activations packed as q8_32.
//
// A format says how four blocks (128 weights) unpack to unsigned bytes; two loops are built on that:
//   up to kRowTokens tokens: row by row, a weight unpacked once for all tokens. One zmm holds 16 bytes of
//   each of the four blocks, so that lane groups of four belong to one block and one scale vector serves both
//   halves of the blocks; more tokens: panels of 32 rows x kPanelColumns, transposed so that a lane is a row,
//   against broadcast activations.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/token_tiles_avx512.h"
#include "kernels/cpu/unpacked_blocks_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// Activations of 128 columns in the order of FourBlocks. correction: for formats with a minimum d * sum of q
// (float), otherwise -offset * sum of q (int32); sums of the lane's 8 values.
struct alignas(64) FourActivations {
    int8_t low[64];
    int8_t high[64];
    float d[16];
    uint8_t correction[64];
};

constexpr int64_t kChunk = 128;  // columns of FourBlocks
constexpr int64_t kPanelColumns = 512;
constexpr int kRowTokens = 5;  // the activations of more would not stay in the first level cache

inline __m512 spread_four_scales(__m128 scales) {
    const __m512i each_four_times = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(each_four_times, _mm512_castps128_ps512(scales));
}

template <class F>
void arrange_token(const uint8_t* row, const Q8x32Layout& layout, int64_t k, FourActivations* out,
                   int64_t step) {
    const __m512i low_halves = _mm512_set_epi64(13, 12, 9, 8, 5, 4, 1, 0);
    const __m512i high_halves = _mm512_set_epi64(15, 14, 11, 10, 7, 6, 3, 2);
    const float* scales = reinterpret_cast<const float*>(row + layout.d_offset);
    for (int64_t column = 0; column < k; column += kChunk, out += step) {
        const int64_t rest = k - column;
        const __mmask64 first = rest >= 64 ? ~__mmask64{0} : __mmask64{0xFFFFFFFF};
        const __mmask64 second = rest >= kChunk ? ~__mmask64{0}
                                 : rest > 64    ? __mmask64{0xFFFFFFFF}
                                                : __mmask64{0};
        const __m512i a = _mm512_maskz_loadu_epi8(first, row + column);
        const __m512i b = _mm512_maskz_loadu_epi8(rest > 64 ? second : __mmask64{0}, row + column + 64);
        const __m512i low = _mm512_permutex2var_epi64(a, low_halves, b);
        const __m512i high = _mm512_permutex2var_epi64(a, high_halves, b);
        const auto present = static_cast<__mmask8>(rest >= kChunk ? 0xF : (1 << (rest / 32)) - 1);
        const __m512 d = spread_four_scales(_mm_maskz_loadu_ps(present, scales + column / 32));
        const __m512i ones = _mm512_set1_epi8(1);
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, low);
        sum = _mm512_dpbusd_epi32(sum, ones, high);
        const __m512i correction = F::kHasMinimum
                                       ? _mm512_castps_si512(_mm512_mul_ps(d, _mm512_cvtepi32_ps(sum)))
                                       : _mm512_mullo_epi32(sum, _mm512_set1_epi32(-F::kOffset));
        _mm512_store_si512(out->low, low);
        _mm512_store_si512(out->high, high);
        _mm512_store_ps(out->d, d);
        _mm512_store_si512(out->correction, correction);
    }
}

template <class F, int kTokens>
[[gnu::always_inline]] inline void accumulate_chunk(const FourBlocks& w, const FourActivations* act,
                                                    __m512* sums) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
        const __m512i correction = _mm512_load_si512(act[t].correction);
        __m512i dot = F::kHasMinimum ? _mm512_setzero_si512() : correction;
        dot = _mm512_dpbusd_epi32(dot, w.low, _mm512_load_si512(act[t].low));
        dot = _mm512_dpbusd_epi32(dot, w.high, _mm512_load_si512(act[t].high));
        const __m512 d = _mm512_mul_ps(w.d, _mm512_load_ps(act[t].d));
        sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), d, sums[t]);
        if constexpr (F::kHasMinimum)
            sums[t] = _mm512_fmadd_ps(w.m, _mm512_castsi512_ps(correction), sums[t]);
    }
}

// Rows [begin, end) for all of kTokens tokens.
template <class F, int kTokens>
void few_tokens(const LinearArgs& linear, int64_t begin, int64_t end, void* workspace) {
    const Q8x32Layout layout = q8x32_layout(linear.k);
    auto* acts = reinterpret_cast<FourActivations*>(align_64(workspace));  // [chunk][token]
    for (int t = 0; t < kTokens; ++t) {
        const uint8_t* row = static_cast<const uint8_t*>(linear.act) + t * linear.act_row_bytes;
        arrange_token<F>(row, layout, linear.k, acts + t, kTokens);
    }
    const int64_t n_chunks = linear.k / kChunk;
    const int64_t rest_blocks = linear.k % kChunk / 32;
    float* out = linear.out - linear.out_offset;
    for (int64_t row = begin; row < end; ++row) {
        const uint8_t* p = static_cast<const uint8_t*>(linear.weight) + row * linear.weight_row_bytes;
        __m512 sums[kTokens];
        for (__m512& sum : sums) sum = _mm512_setzero_ps();
        const FourActivations* act = acts;
        for (int64_t i = 0; i < n_chunks; ++i, p += 4 * F::kBlockBytes, act += kTokens) {
            prefetch_ahead<4 * F::kBlockBytes>(p);
            accumulate_chunk<F, kTokens>(F::unpack(p), act, sums);
        }
        if (rest_blocks != 0) accumulate_chunk<F, kTokens>(unpack_partial<F>(p, rest_blocks), act, sums);
        for (int t = 0; t < kTokens; ++t) out[t * linear.out_stride + row] = _mm512_reduce_add_ps(sums[t]);
    }
}

// kGroups x 16 rows, a lane a row: bytes [column / 4][group], scales and minimums [block][group].
template <int kGroups>
struct alignas(64) Panel32 {
    __m512i weights[kPanelColumns / 4][kGroups];
    __m512 d[kPanelColumns / 32][kGroups];
    __m512 m[kPanelColumns / 32][kGroups];
};

// Unpacks `columns` columns of 16 rows; `rows` may repeat a row. The next panel's bytes lie `next` further.
template <class F, int kGroups>
void fill_panel(const uint8_t* const* rows, int64_t columns, int64_t next, int group,
                Panel32<kGroups>* panel) {
    for (int64_t column = 0; column < columns; column += kChunk) {
        const int64_t n_blocks = columns - column >= kChunk ? 4 : (columns - column) / 32;
        __m512i low[16];
        __m512i high[16];
        __m512i scales[16];
        for (int r = 0; r < 16; ++r) {
            const uint8_t* p = rows[r] + column / 32 * F::kBlockBytes;
            prefetch_panel_row(p + next, 4 * F::kBlockBytes);
            const FourBlocks w = n_blocks == 4 ? F::unpack(p) : unpack_partial<F>(p, n_blocks);
            low[r] = w.low;
            high[r] = w.high;
            scales[r] = _mm512_castps_si512(F::kHasMinimum ? _mm512_mask_mov_ps(w.d, 0x2222, w.m) : w.d);
        }
        transpose_16x16(low);
        transpose_16x16(high);
        transpose_16x16(scales);
        for (int64_t b = 0; b < n_blocks; ++b) {
            const int64_t block = column / 32 + b;
            for (int i = 0; i < 4; ++i) {
                panel->weights[block * 8 + i][group] = low[4 * b + i];
                panel->weights[block * 8 + 4 + i][group] = high[4 * b + i];
            }
            panel->d[block][group] = _mm512_castsi512_ps(scales[4 * b]);
            if constexpr (F::kHasMinimum) panel->m[block][group] = _mm512_castsi512_ps(scales[4 * b + 1]);
        }
    }
}

// Adds a panel's product to `out` (or begins with it): kTokens tokens whose activations begin at `act`.
template <class F, int kGroups, int kTokens>
void panel_tokens(const Panel32<kGroups>& panel, const PanelTile& tile) {
    __m512 sums[kTokens][kGroups];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) sums[t][g] = tile.first ? _mm512_setzero_ps() : tile.read(t, g);
    for (int64_t block = 0; block < tile.columns / 32; ++block) {
        __m512i dots[kTokens][kGroups];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
            for (int g = 0; g < kGroups; ++g) dots[t][g] = _mm512_setzero_si512();
        const uint8_t* q = tile.act + block * 32;
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) {
                const __m512i a =
                    _mm512_set1_epi32(static_cast<int32_t>(load_u32(q + t * tile.act_row_bytes + 4 * i)));
#pragma GCC unroll 2
                for (int g = 0; g < kGroups; ++g)
                    dots[t][g] = _mm512_dpbusd_epi32(dots[t][g], panel.weights[block * 8 + i][g], a);
            }
        }
        const uint8_t* scales = tile.scales + block * 4;
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const uint8_t* scale = scales + t * tile.act_row_bytes;
            const __m512 d = _mm512_set1_ps(*reinterpret_cast<const float*>(scale));
            const __m512 dsum = _mm512_set1_ps(*reinterpret_cast<const float*>(scale + tile.sums_distance));
#pragma GCC unroll 2
            for (int g = 0; g < kGroups; ++g) {
                const __m512 dot = _mm512_cvtepi32_ps(dots[t][g]);
                if constexpr (F::kHasMinimum) {
                    sums[t][g] = _mm512_fmadd_ps(dot, _mm512_mul_ps(d, panel.d[block][g]), sums[t][g]);
                    sums[t][g] = _mm512_fmadd_ps(dsum, panel.m[block][g], sums[t][g]);
                } else {
                    const __m512 offset = _mm512_mul_ps(dsum, _mm512_set1_ps(-F::kOffset));
                    sums[t][g] =
                        _mm512_fmadd_ps(_mm512_fmadd_ps(dot, d, offset), panel.d[block][g], sums[t][g]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) tile.store(t, g, sums[t][g]);
}

// All tokens for up to kGroups x 16 rows that start at `begin`.
template <class F, int kGroups>
void many_tokens(const LinearArgs& linear, int64_t begin, int64_t end, void* workspace) {
    const Q8x32Layout layout = q8x32_layout(linear.k);
    auto& panel = *reinterpret_cast<Panel32<kGroups>*>(align_64(workspace));
    for (int64_t first = 0; first < linear.k; first += kPanelColumns) {
        const int64_t columns = linear.k - first < kPanelColumns ? linear.k - first : kPanelColumns;
        const int64_t offset = first / 32 * F::kBlockBytes;
        const int64_t next = next_panel_distance(linear, offset, columns / 32 * F::kBlockBytes, kGroups);
        for (int g = 0; g < kGroups; ++g) {
            const uint8_t* rows[16];
            panel_rows(linear, begin + 16 * g, end, offset, rows);
            fill_panel<F, kGroups>(rows, columns, next, g, &panel);
        }
        PanelTile tile(linear, begin, end, first, columns);
        tile.sums_distance = layout.dsum_offset - layout.d_offset;
        for_token_tiles(linear.m, [&](int64_t token, auto count) {
            tile.move_to(linear, token);
            tile.act = static_cast<const uint8_t*>(linear.act) + token * linear.act_row_bytes + first;
            tile.scales = tile.act - first + layout.d_offset + first / 32 * 4;
            panel_tokens<F, kGroups, decltype(count)::value>(panel, tile);
        });
    }
}

template <class F>
void run_q8x32(const Args* args, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& linear = *static_cast<const LinearArgs*>(args);
    if (linear.m <= kRowTokens) {
        dispatch_tokens<kRowTokens>(linear.m, [&](auto count) {
            few_tokens<F, decltype(count)::value>(linear, row_begin, row_end, workspace);
        });
        return;
    }
    for_row_panels(row_begin, row_end, [&](int64_t row, auto groups) {
        many_tokens<F, decltype(groups)::value>(linear, row, row_end, workspace);
    });
}

inline bool supports_q8x32(const Shape* shape) { return shape->k > 0 && shape->k % 32 == 0; }

inline size_t workspace_q8x32(const Shape* shape) {
    if (shape->m > kRowTokens) return sizeof(Panel32<2>) + 64;
    const int64_t chunks = (shape->k + kChunk - 1) / kChunk;
    return static_cast<size_t>(chunks * shape->m) * sizeof(FourActivations) + 64;
}

template <class F>
double cost_q8x32(const Shape* shape) {
    return linear_cost(shape, static_cast<double>(F::kBlockBytes) / 32.0, 250.0);
}

template <class F>
constexpr Kernel q8x32_linear(const char* name) {
    return {.name = name,
            .op = Op::linear,
            .weight_format = F::kFormat,
            .weight_layout = Layout::gguf,
            .act_layout = Layout::q8_32,
            .out_layout = Layout::f32,
            .isa = Isa::avx512,
            .supports = supports_q8x32,
            .cost = cost_q8x32<F>,
            .workspace_bytes = workspace_q8x32,
            .run = run_q8x32<F>};
}

}  // namespace
}  // namespace llmcore
