// Products of many tokens: weights are unpacked once, four rows side by side, and every token meets those.
//
// A panel is four rows by up to kPanelColumns columns. Of 16 columns there are 64 bytes: with dot products
// [column / 4][row][4], with matrix products [column / 8][row][8]. Then for each group of columns the rows'
// scales and, where the format has one, what multiplies the activations' sum.
#pragma once

#include "kernels/cpu/linear_blocks_neon.h"

namespace llmcore {
namespace {

constexpr int64_t kPanelRows = 4;
constexpr int64_t kPanels = 4;           // unpacked at a time: what a tile of tokens meets while it is in L1
constexpr int64_t kPanelColumns = 4096;  // so that four panels stay in L2

struct Panel {
    int8_t* q;
    float* scale;
    float* bias;
};

// Whole lots of columns.
constexpr int64_t panel_width(int64_t columns) { return (columns + 127) / 128 * 128; }

constexpr int64_t panel_bytes(int64_t columns, int64_t group) {
    return kPanelRows * (columns + 2 * columns / group * static_cast<int64_t>(sizeof(float)));
}

template <int Group>
LLMCORE_INLINE Panel panel_at(void* workspace, int64_t columns, int64_t index) {
    const int64_t width = panel_width(columns);
    char* base = static_cast<char*>(workspace) + index * panel_bytes(width, Group);
    float* scale = reinterpret_cast<float*>(base + kPanelRows * width);
    return {reinterpret_cast<int8_t*>(base), scale, scale + kPanelRows * width / Group};
}

// 4x4 lanes, transposed.
LLMCORE_INLINE void transpose(const float32x4_t (&row)[kPanelRows], float* to) {
    const float32x4_t a = vzip1q_f32(row[0], row[2]), b = vzip2q_f32(row[0], row[2]);
    const float32x4_t c = vzip1q_f32(row[1], row[3]), d = vzip2q_f32(row[1], row[3]);
    vst1q_f32(to, vzip1q_f32(a, c));
    vst1q_f32(to + 4, vzip2q_f32(a, c));
    vst1q_f32(to + 8, vzip1q_f32(b, d));
    vst1q_f32(to + 12, vzip2q_f32(b, d));
}

// 16 columns of four rows.
LLMCORE_INLINE void interleave(const int8x16_t (&row)[kPanelRows], int8_t* to) {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    for (int i = 0; i < 2; ++i) {
        const int64x2_t a = vreinterpretq_s64_s8(row[2 * i]), b = vreinterpretq_s64_s8(row[2 * i + 1]);
        vst1q_s8(to + 16 * i, vreinterpretq_s8_s64(vzip1q_s64(a, b)));
        vst1q_s8(to + 32 + 16 * i, vreinterpretq_s8_s64(vzip2q_s64(a, b)));
    }
#else
    float32x4_t fours[kPanelRows];
    for (int r = 0; r < kPanelRows; ++r) fours[r] = vreinterpretq_f32_s8(row[r]);
    transpose(fours, reinterpret_cast<float*>(to));
#endif
}

template <class Weights>
void unpack_panel(const char* const (&rows)[kPanelRows], int64_t columns, const Panel& panel) {
    constexpr int kVectors = Lot<Weights>::kColumns / 16;
    constexpr int kScales = Lot<Weights>::kColumns / Weights::kGroup / 4;
    for (int64_t column = 0; column < columns; column += Lot<Weights>::kColumns) {
        const int64_t bytes = column / Lot<Weights>::kColumns * Lot<Weights>::kBytes;
        int8x16_t q[kVectors][kPanelRows];
        float32x4_t scale[kScales][kPanelRows], bias[kScales][kPanelRows];
        for (int r = 0; r < kPanelRows; ++r) {
            Lot<Weights>::open(rows[r] + bytes, columns - column,
                               [&](const Weights& w) __attribute__((always_inline)) {
                                   unrolled<0, kVectors / 2>([&](auto j) __attribute__((always_inline)) {
                                       constexpr int kJ = decltype(j)::value;
                                       const Bytes32 both = w.template q<kJ>();
                                       q[2 * kJ][r] = both.low;
                                       q[2 * kJ + 1][r] = both.high;
                                   });
                                   for (int i = 0; i < kScales; ++i) {
                                       scale[i][r] = w.scale[i];
                                       if constexpr (Weights::kHasBias) bias[i][r] = w.bias[i];
                                   }
                               });
        }
        for (int i = 0; i < kVectors; ++i) interleave(q[i], panel.q + (column + 16 * i) * kPanelRows);
        for (int i = 0; i < kScales; ++i) {
            const int64_t at = (column / Weights::kGroup + 4 * i) * kPanelRows;
            transpose(scale[i], panel.scale + at);
            if constexpr (Weights::kHasBias) transpose(bias[i], panel.bias + at);
        }
    }
}

// A token's packed activations from a column on.
struct PackedToken {
    const char* q;
    const float* d;
    const float* dsum;
    const int16_t* sums;

    // What multiplies a bias.
    template <int Group>
    LLMCORE_INLINE float sum(int64_t group) const {
        if constexpr (Group == 32) return dsum[group];
        return d[group / 2] * static_cast<float>(sums[group]);
    }
};

LLMCORE_INLINE PackedToken packed_token(const LinearArgs& args, const Q8x32Layout& layout, int64_t token,
                                        int64_t column) {
    const char* act = static_cast<const char*>(args.act) + token * args.act_row_bytes;
    return {act + column, reinterpret_cast<const float*>(act + layout.d_offset) + column / 32,
            reinterpret_cast<const float*>(act + layout.dsum_offset) + column / 32,
            reinterpret_cast<const int16_t*>(act + layout.sums_offset) + column / 16};
}

#if defined(__ARM_FEATURE_MATMUL_INT8)

LLMCORE_INLINE float32x4_t pair_twice(float a, float b) {
    const float32x2_t pair = {a, b};
    return vcombine_f32(pair, pair);
}

// The products of a panel with T tokens: a lane a row. Accumulators are two rows by two tokens; a token that
// has no partner is its own.
template <class Weights, int T>
LLMCORE_INLINE void multiply_panel(const Panel& panel, const PackedToken (&token)[T], int64_t columns,
                                   float32x4_t (&total)[T]) {
    constexpr int kGroup = Weights::kGroup;
    constexpr int kPairs = (T + 1) / 2;
    float32x4_t upper[kPairs], lower[kPairs];  // rows 0 and 1, rows 2 and 3
    for (int p = 0; p < kPairs; ++p) upper[p] = lower[p] = vdupq_n_f32(0);
    for (int64_t group = 0; group < columns / kGroup; ++group) {
        int32x4_t sum[2][kPairs];
        for (int p = 0; p < kPairs; ++p) sum[0][p] = sum[1][p] = vdupq_n_s32(0);
        unrolled<0, kGroup / 16>([&](auto step) __attribute__((always_inline)) {
            const int64_t column = group * kGroup + 16 * decltype(step)::value;
            const int8_t* q = panel.q + column * kPanelRows;
            const int8x16_t w[4] = {vld1q_s8(q), vld1q_s8(q + 16), vld1q_s8(q + 32), vld1q_s8(q + 48)};
            unrolled<0, kPairs>([&](auto pair) __attribute__((always_inline)) {
                constexpr int kP = decltype(pair)::value, kLast = 2 * kP + 1 < T ? 2 * kP + 1 : 2 * kP;
                const int64x2_t a = vreinterpretq_s64_s8(load_s8(token[2 * kP].q + column));
                const int64x2_t b = vreinterpretq_s64_s8(load_s8(token[kLast].q + column));
                const int8x16_t first = vreinterpretq_s8_s64(vzip1q_s64(a, b));
                const int8x16_t second = vreinterpretq_s8_s64(vzip2q_s64(a, b));
                sum[0][kP] = vmmlaq_s32(vmmlaq_s32(sum[0][kP], w[0], first), w[2], second);
                sum[1][kP] = vmmlaq_s32(vmmlaq_s32(sum[1][kP], w[1], first), w[3], second);
            });
        });
        const float32x4_t scale = vld1q_f32(panel.scale + group * kPanelRows);
        const float32x4_t scales[2] = {vzip1q_f32(scale, scale), vzip2q_f32(scale, scale)};
        const int64_t of_32 = group * kGroup / 32;
        unrolled<0, kPairs>([&](auto pair) __attribute__((always_inline)) {
            constexpr int kP = decltype(pair)::value, kLast = 2 * kP + 1 < T ? 2 * kP + 1 : 2 * kP;
            const float32x4_t d = pair_twice(token[2 * kP].d[of_32], token[kLast].d[of_32]);
            upper[kP] = vfmaq_f32(upper[kP], vcvtq_f32_s32(sum[0][kP]), vmulq_f32(scales[0], d));
            lower[kP] = vfmaq_f32(lower[kP], vcvtq_f32_s32(sum[1][kP]), vmulq_f32(scales[1], d));
            if constexpr (Weights::kHasBias) {
                const float32x4_t bias = vld1q_f32(panel.bias + group * kPanelRows);
                const float32x4_t act = pair_twice(token[2 * kP].template sum<kGroup>(group),
                                                   token[kLast].template sum<kGroup>(group));
                upper[kP] = vfmaq_f32(upper[kP], vzip1q_f32(bias, bias), act);
                lower[kP] = vfmaq_f32(lower[kP], vzip2q_f32(bias, bias), act);
            }
        });
    }
    for (int t = 0; t < T; ++t)
        total[t] =
            t % 2 == 0 ? vuzp1q_f32(upper[t / 2], lower[t / 2]) : vuzp2q_f32(upper[t / 2], lower[t / 2]);
}

#elif defined(__ARM_FEATURE_DOTPROD)

// The products of a panel with T tokens: a lane a row.
template <class Weights, int T>
LLMCORE_INLINE void multiply_panel(const Panel& panel, const PackedToken (&token)[T], int64_t columns,
                                   float32x4_t (&total)[T]) {
    constexpr int kGroup = Weights::kGroup;
    for (int t = 0; t < T; ++t) total[t] = vdupq_n_f32(0);
    for (int64_t group = 0; group < columns / kGroup; ++group) {
        int32x4_t sum[T];
        for (int t = 0; t < T; ++t) sum[t] = vdupq_n_s32(0);
        unrolled<0, kGroup / 16>([&](auto step) __attribute__((always_inline)) {
            const int64_t column = group * kGroup + 16 * decltype(step)::value;
            const int8_t* q = panel.q + column * kPanelRows;
            const int8x16_t w[4] = {vld1q_s8(q), vld1q_s8(q + 16), vld1q_s8(q + 32), vld1q_s8(q + 48)};
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                const int8x16_t act = load_s8(token[kT].q + column);
                sum[kT] = vdotq_laneq_s32(sum[kT], w[0], act, 0);
                sum[kT] = vdotq_laneq_s32(sum[kT], w[1], act, 1);
                sum[kT] = vdotq_laneq_s32(sum[kT], w[2], act, 2);
                sum[kT] = vdotq_laneq_s32(sum[kT], w[3], act, 3);
            });
        });
        const float32x4_t scale = vld1q_f32(panel.scale + group * kPanelRows);
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const float32x4_t d = vmulq_n_f32(scale, token[kT].d[group * kGroup / 32]);
            total[kT] = vfmaq_f32(total[kT], vcvtq_f32_s32(sum[kT]), d);
            if constexpr (Weights::kHasBias) {
                const float32x4_t bias = vld1q_f32(panel.bias + group * kPanelRows);
                total[kT] = vfmaq_n_f32(total[kT], bias, token[kT].template sum<kGroup>(group));
            }
        });
    }
}

#endif

// Up to kPanels panels, unpacked from `row` on, with T tokens. The first columns' products are written, the
// others' added.
template <class Weights, int T>
LLMCORE_NOINLINE void multiply_tokens(const LinearArgs& args, void* workspace, int64_t row, int64_t panels,
                                      int64_t column, int64_t columns, int64_t first_token) {
    const Q8x32Layout layout = q8x32_layout(args.k);
    PackedToken token[T];
    for (int t = 0; t < T; ++t) token[t] = packed_token(args, layout, first_token + t, column);
    for (int64_t p = 0; p < panels; ++p) {
        float* out = args.out + first_token * args.out_stride + row + p * kPanelRows - args.out_offset;
        float32x4_t total[T];
        multiply_panel<Weights, T>(panel_at<Weights::kGroup>(workspace, columns, p), token, columns, total);
        for (int t = 0; t < T; ++t, out += args.out_stride)
            vst1q_f32(out, column == 0 ? total[t] : vaddq_f32(total[t], vld1q_f32(out)));
    }
}

template <class Weights>
void panels_run(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* workspace) {
    const char* weight = static_cast<const char*>(args.weight);
    for (int64_t row = row_begin; row < row_end; row += kPanels * kPanelRows) {
        const int64_t left = (row_end - row) / kPanelRows;
        const int64_t panels = left < kPanels ? left : kPanels;
        for (int64_t column = 0; column < args.k; column += kPanelColumns) {
            const int64_t columns = args.k - column < kPanelColumns ? args.k - column : kPanelColumns;
            const int64_t skipped = column / Lot<Weights>::kColumns * Lot<Weights>::kBytes;
            for (int64_t p = 0; p < panels; ++p) {
                const char* first = weight + (row + p * kPanelRows) * args.weight_row_bytes + skipped;
                const int64_t next = args.weight_row_bytes;
                unpack_panel<Weights>({first, first + next, first + 2 * next, first + 3 * next}, columns,
                                      panel_at<Weights::kGroup>(workspace, columns, p));
            }
            int64_t token = 0;
            for (; token + 4 <= args.m; token += 4)
                multiply_tokens<Weights, 4>(args, workspace, row, panels, column, columns, token);
            for (; token + 2 <= args.m; token += 2)
                multiply_tokens<Weights, 2>(args, workspace, row, panels, column, columns, token);
            if (token < args.m)
                multiply_tokens<Weights, 1>(args, workspace, row, panels, column, columns, token);
        }
    }
}

// Below, unpacking and writing a panel costs more than it saves (estimated).
constexpr int64_t kFewestPanelTokens = kBlockIsa == Isa::i8mm ? 4 : 8;

template <class Weights>
size_t panels_workspace(const Shape* shape) {
    if (shape->m < kFewestPanelTokens) return 0;
    const int64_t columns = shape->k < kPanelColumns ? shape->k : kPanelColumns;
    return static_cast<size_t>(kPanels * panel_bytes(panel_width(columns), Weights::kGroup));
}

// Few tokens row by row; many by panels, and what is left of the rows row by row.
template <class Weights>
void rows_or_panels_run(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& args = *static_cast<const LinearArgs*>(base);
    if (args.m >= kFewestPanelTokens) {
        const int64_t whole = row_begin + (row_end - row_begin) / kPanelRows * kPanelRows;
        panels_run<Weights>(args, row_begin, whole, workspace);
        row_begin = whole;
    }
    linear_run<BlockDot<Weights>>(base, row_begin, row_end, nullptr);
}

}  // namespace
}  // namespace llmcore
