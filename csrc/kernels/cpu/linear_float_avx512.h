// The product of F32, F16 and BF16 weights with float activations, any number of columns.
// Loops: as in linear_q8x32_avx512.h.
#pragma once

#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/token_tiles_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int64_t kPanelColumns = 256;
constexpr int kRowTokens = 3;

inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xFFFF : (1 << n) - 1); }

// Rows [begin, end) for all of kTokens tokens. Two sums a token, so that additions need not wait for each
// other.
template <class F, int kTokens>
void few_tokens(const LinearArgs& linear, int64_t begin, int64_t end) {
    float* out = linear.out - linear.out_offset;
    for (int64_t row = begin; row < end; ++row) {
        const uint8_t* p = static_cast<const uint8_t*>(linear.weight) + row * linear.weight_row_bytes;
        const uint8_t* act = static_cast<const uint8_t*>(linear.act);
        __m512 sums[kTokens][2];
        for (auto& token : sums)
            for (__m512& sum : token) sum = _mm512_setzero_ps();
        int64_t column = 0;
        for (; column + 32 <= linear.k; column += 32, p += 32 * F::kBytes, act += 128) {
            prefetch_ahead<32 * F::kBytes>(p);
            const __m512 w[2] = {F::load(p, 0xFFFF), F::load(p + 16 * F::kBytes, 0xFFFF)};
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) {
                const uint8_t* a = act + t * linear.act_row_bytes;
                sums[t][0] = _mm512_fmadd_ps(w[0], _mm512_loadu_ps(a), sums[t][0]);
                sums[t][1] = _mm512_fmadd_ps(w[1], _mm512_loadu_ps(a + 64), sums[t][1]);
            }
        }
        for (; column < linear.k; column += 16, p += 16 * F::kBytes, act += 64) {
            const __mmask16 lanes = first_lanes(linear.k - column);
            const __m512 w = F::load(p, lanes);
#pragma GCC unroll 8
            for (int t = 0; t < kTokens; ++t) {
                const __m512 a = _mm512_maskz_loadu_ps(lanes, act + t * linear.act_row_bytes);
                sums[t][0] = _mm512_fmadd_ps(w, a, sums[t][0]);
            }
        }
        for (int t = 0; t < kTokens; ++t)
            out[t * linear.out_stride + row] = _mm512_reduce_add_ps(_mm512_add_ps(sums[t][0], sums[t][1]));
    }
}

template <int kGroups>
struct alignas(64) FloatPanel {
    __m512 weights[kPanelColumns][kGroups];  // a lane a row
};

// The next panel's bytes lie `next` further.
template <class F, int kGroups>
void fill_panel(const uint8_t* const* rows, int64_t columns, int64_t next, int group,
                FloatPanel<kGroups>* panel) {
    for (int64_t column = 0; column < columns; column += 16) {
        const __mmask16 lanes = first_lanes(columns - column);
        __m512i w[16];
        for (int r = 0; r < 16; ++r) {
            const uint8_t* p = rows[r] + column * F::kBytes;
            prefetch_panel_row(p + next, 16 * F::kBytes);
            w[r] = _mm512_castps_si512(F::load(p, lanes));
        }
        transpose_16x16(w);
        for (int i = 0; i < 16; ++i) panel->weights[column + i][group] = _mm512_castsi512_ps(w[i]);
    }
}

template <int kGroups, int kTokens>
void panel_tokens(const FloatPanel<kGroups>& panel, const PanelTile& tile) {
    __m512 sums[kTokens][kGroups];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) sums[t][g] = tile.first ? _mm512_setzero_ps() : tile.read(t, g);
    for (int64_t column = 0; column < tile.columns; ++column) {
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
            const uint8_t* a = tile.act + t * tile.act_row_bytes + 4 * column;
            const __m512 value = _mm512_set1_ps(*reinterpret_cast<const float*>(a));
#pragma GCC unroll 2
            for (int g = 0; g < kGroups; ++g)
                sums[t][g] = _mm512_fmadd_ps(panel.weights[column][g], value, sums[t][g]);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t)
#pragma GCC unroll 2
        for (int g = 0; g < kGroups; ++g) tile.store(t, g, sums[t][g]);
}

template <class F, int kGroups>
void many_tokens(const LinearArgs& linear, int64_t begin, int64_t end, void* workspace) {
    auto& panel = *reinterpret_cast<FloatPanel<kGroups>*>(align_64(workspace));
    for (int64_t first = 0; first < linear.k; first += kPanelColumns) {
        const int64_t columns = linear.k - first < kPanelColumns ? linear.k - first : kPanelColumns;
        const int64_t next = next_panel_distance(linear, first * F::kBytes, columns * F::kBytes, kGroups);
        for (int g = 0; g < kGroups; ++g) {
            const uint8_t* rows[16];
            panel_rows(linear, begin + 16 * g, end, first * F::kBytes, rows);
            fill_panel<F, kGroups>(rows, columns, next, g, &panel);
        }
        PanelTile tile(linear, begin, end, first, columns);
        for_token_tiles(linear.m, [&](int64_t token, auto count) {
            tile.move_to(linear, token);
            tile.act = static_cast<const uint8_t*>(linear.act) + token * linear.act_row_bytes + 4 * first;
            panel_tokens<kGroups, decltype(count)::value>(panel, tile);
        });
    }
}

template <class F>
void run_float(const Args* args, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& linear = *static_cast<const LinearArgs*>(args);
    if (linear.m <= kRowTokens) {
        dispatch_tokens<kRowTokens>(
            linear.m, [&](auto count) { few_tokens<F, decltype(count)::value>(linear, row_begin, row_end); });
        return;
    }
    for_row_panels(row_begin, row_end, [&](int64_t row, auto groups) {
        many_tokens<F, decltype(groups)::value>(linear, row, row_end, workspace);
    });
}

inline bool supports_float(const Shape* shape) { return shape->k > 0; }

inline size_t workspace_float(const Shape* shape) {
    return shape->m > kRowTokens ? sizeof(FloatPanel<2>) + 64 : 0;
}

template <class F>
double cost_float(const Shape* shape) {
    return linear_cost(shape, static_cast<double>(F::kBytes), 85.0);
}

template <class F>
constexpr Kernel float_linear(const char* name) {
    return {.name = name,
            .op = Op::linear,
            .weight_format = F::kFormat,
            .weight_layout = Layout::gguf,
            .act_layout = Layout::f32,
            .out_layout = Layout::f32,
            .isa = Isa::avx512,
            .supports = supports_float,
            .cost = cost_float<F>,
            .workspace_bytes = workspace_float,
            .run = run_float<F>};
}

}  // namespace
}  // namespace llmcore
