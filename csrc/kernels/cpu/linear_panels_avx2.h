// Products of many tokens with AVX2, or with AVX-VNNI's sums of four products: weights are unpacked once,
// eight rows side by side, so that a vector's lanes are rows and what a token adds is a broadcast of four of
// its bytes.
//
// A panel is eight rows by up to kPanelColumns columns: bytes [column / 4][row][4], then for each `kGroup`
// columns the rows' scales and, where the format has one, what multiplies the activations' sum.
//
// `Panels` describes how a format fills one:
//     using Weights; constexpr int kGroup, 16 or 32; constexpr int kSums: products of pairs whose sum fits in
//     16 bits; constexpr bool kSigned, kHasBias; constexpr int64_t kColumns of a block;
//     constexpr int64_t kFewestTokens: below, unpacking costs more than it saves (measured);
//     static void unpack(const char* const* rows, int64_t columns, const Panel&);
//     using Dot: what few tokens are multiplied with; static bool supports(const Shape*).
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

constexpr int64_t kPanelRows = 8;
constexpr int64_t kPanels = 4;           // unpacked at a time: what a tile of tokens meets while it is in L1
constexpr int64_t kPanelColumns = 4096;  // so that four panels stay in L2

struct Panel {
    uint8_t* q;
    float* scale;
    float* bias;
};

constexpr int64_t panel_bytes(int64_t columns, int64_t group) {
    return kPanelRows * (columns + 2 * columns / group * static_cast<int64_t>(sizeof(float)));
}

template <int Group>
LLMCORE_INLINE Panel panel_at(void* workspace, int64_t columns, int64_t index) {
    char* base = static_cast<char*>(workspace) + index * panel_bytes(columns, Group);
    float* scale = reinterpret_cast<float*>(base + kPanelRows * columns);
    return {reinterpret_cast<uint8_t*>(base), scale, scale + kPanelRows * columns / Group};
}

// 32 columns of eight rows, from a row a vector to four columns of all rows a vector.
LLMCORE_INLINE void interleave_rows(const __m256i (&row)[kPanelRows], uint8_t* to) {
    __m256i pair[8], four[8];
    unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        pair[2 * kI] = _mm256_unpacklo_epi32(row[2 * kI], row[2 * kI + 1]);
        pair[2 * kI + 1] = _mm256_unpackhi_epi32(row[2 * kI], row[2 * kI + 1]);
    });
    unrolled<0, 2>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = 4 * decltype(i)::value;
        four[kI] = _mm256_unpacklo_epi64(pair[kI], pair[kI + 2]);
        four[kI + 1] = _mm256_unpackhi_epi64(pair[kI], pair[kI + 2]);
        four[kI + 2] = _mm256_unpacklo_epi64(pair[kI + 1], pair[kI + 3]);
        four[kI + 3] = _mm256_unpackhi_epi64(pair[kI + 1], pair[kI + 3]);
    });
    unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        store_256(to + 32 * kI, _mm256_permute2x128_si256(four[kI], four[kI + 4], 0x20));
        store_256(to + 128 + 32 * kI, _mm256_permute2x128_si256(four[kI], four[kI + 4], 0x31));
    });
}

// Eight rows' values of eight groups, from a row a vector to a group a vector.
LLMCORE_INLINE void interleave_values(const __m256 (&row)[kPanelRows], float* to) {
    __m256 pair[8], four[8];
    unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        pair[2 * kI] = _mm256_unpacklo_ps(row[2 * kI], row[2 * kI + 1]);
        pair[2 * kI + 1] = _mm256_unpackhi_ps(row[2 * kI], row[2 * kI + 1]);
    });
    unrolled<0, 2>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = 4 * decltype(i)::value;
        four[kI] = _mm256_shuffle_ps(pair[kI], pair[kI + 2], 0x44);
        four[kI + 1] = _mm256_shuffle_ps(pair[kI], pair[kI + 2], 0xEE);
        four[kI + 2] = _mm256_shuffle_ps(pair[kI + 1], pair[kI + 3], 0x44);
        four[kI + 3] = _mm256_shuffle_ps(pair[kI + 1], pair[kI + 3], 0xEE);
    });
    unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        _mm256_storeu_ps(to + 8 * kI, _mm256_permute2f128_ps(four[kI], four[kI + 4], 0x20));
        _mm256_storeu_ps(to + 32 + 8 * kI, _mm256_permute2f128_ps(four[kI], four[kI + 4], 0x31));
    });
}

// A token's packed activations from a column on.
struct PackedToken {
    const char* q;
    const float* d;
    const float* dsum;
    const int16_t* sums;
};

LLMCORE_INLINE PackedToken packed_token(const LinearArgs& args, const Q8x32Layout& layout, int64_t token,
                                        int64_t column) {
    const char* act = static_cast<const char*>(args.act) + token * args.act_row_bytes;
    return {act + column, reinterpret_cast<const float*>(act + layout.d_offset) + column / 32,
            reinterpret_cast<const float*>(act + layout.dsum_offset) + column / 32,
            reinterpret_cast<const int16_t*>(act + layout.sums_offset) + column / 16};
}

#if defined(LLMCORE_AVXVNNI)

// The products of Steps times four columns with T tokens, as int32 in the rows' lanes.
template <class Panels, int T, int Steps>
LLMCORE_INLINE void multiply_group(const uint8_t* q, const PackedToken (&token)[T], int64_t column,
                                   __m256i (&sum)[T]) {
    for (int t = 0; t < T; ++t) sum[t] = _mm256_setzero_si256();
    unrolled<0, Steps>([&](auto s) __attribute__((always_inline)) {
        constexpr int kStep = decltype(s)::value;
        const __m256i w = load_256(q + 32 * kStep);
        const __m256i magnitudes = Panels::kSigned ? _mm256_abs_epi8(w) : w;
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            __m256i act = _mm256_set1_epi32(static_cast<int>(load_u32(token[kT].q + column + 4 * kStep)));
            if constexpr (Panels::kSigned) act = _mm256_sign_epi8(act, w);
            sum[kT] = add_four_products(sum[kT], magnitudes, act);
        });
    });
}

#else

// The products of Steps times four columns with T tokens, as int32 in the rows' lanes.
template <class Panels, int T, int Steps>
LLMCORE_INLINE void multiply_group(const uint8_t* q, const PackedToken (&token)[T], int64_t column,
                                   __m256i (&sum)[T]) {
    constexpr int kRun = Panels::kSums < Steps ? Panels::kSums : Steps;
    unrolled<0, Steps / kRun>([&](auto run) __attribute__((always_inline)) {
        constexpr int kFirst = decltype(run)::value * kRun;
        __m256i pairs[T];
        unrolled<0, kRun>([&](auto s) __attribute__((always_inline)) {
            constexpr int kStep = kFirst + decltype(s)::value;
            const __m256i w = load_256(q + 32 * kStep);
            const __m256i magnitudes = Panels::kSigned ? _mm256_abs_epi8(w) : w;
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                __m256i act = _mm256_set1_epi32(static_cast<int>(load_u32(token[kT].q + column + 4 * kStep)));
                if constexpr (Panels::kSigned) act = _mm256_sign_epi8(act, w);
                const __m256i product = _mm256_maddubs_epi16(magnitudes, act);
                pairs[kT] = kStep == kFirst ? product : _mm256_add_epi16(pairs[kT], product);
                fix_order(pairs[kT]);
            });
        });
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const __m256i fours = _mm256_madd_epi16(pairs[kT], _mm256_set1_epi16(1));
            sum[kT] = kFirst == 0 ? fours : _mm256_add_epi32(sum[kT], fours);
            fix_order(sum[kT]);
        });
    });
}

#endif

// Adds the product of a panel with T tokens to total: a lane a row.
template <class Panels, int T>
LLMCORE_INLINE void multiply_panel(const Panel& panel, const PackedToken (&token)[T], int64_t columns,
                                   __m256 (&total)[T]) {
    constexpr int kGroup = Panels::kGroup;
    for (int64_t group = 0; group < columns / kGroup; ++group) {
        __m256i sum[T];
        multiply_group<Panels, T, kGroup / 4>(panel.q + group * kGroup * kPanelRows, token, group * kGroup,
                                              sum);
        const __m256 scale = _mm256_loadu_ps(panel.scale + group * kPanelRows);
        const int64_t of_32 = group * kGroup / 32;
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const __m256 d = _mm256_mul_ps(scale, _mm256_broadcast_ss(token[kT].d + of_32));
            total[kT] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[kT]), d, total[kT]);
        });
        if constexpr (Panels::kHasBias) {
            const __m256 bias = _mm256_loadu_ps(panel.bias + group * kPanelRows);
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                __m256 act_sum;
                if constexpr (kGroup == 32) {
                    act_sum = _mm256_broadcast_ss(token[kT].dsum + of_32);
                } else {
                    act_sum = _mm256_set1_ps(token[kT].d[of_32] * static_cast<float>(token[kT].sums[group]));
                }
                total[kT] = _mm256_fmadd_ps(bias, act_sum, total[kT]);
            });
        }
    }
}

// Up to kPanels panels, unpacked from `row` on, with T tokens. The first columns' products are written, the
// others' added.
template <class Panels, int T>
LLMCORE_NOINLINE void multiply_tokens(const LinearArgs& args, void* workspace, int64_t row, int64_t panels,
                                      int64_t column, int64_t columns, int64_t first_token) {
    const Q8x32Layout layout = q8x32_layout(args.k);
    PackedToken token[T];
    for (int t = 0; t < T; ++t) token[t] = packed_token(args, layout, first_token + t, column);
    for (int64_t p = 0; p < panels; ++p) {
        float* out = args.out + first_token * args.out_stride + row + p * kPanelRows - args.out_offset;
        __m256 total[T];
        for (int t = 0; t < T; ++t)
            total[t] = column == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(out + t * args.out_stride);
        multiply_panel<Panels, T>(panel_at<Panels::kGroup>(workspace, columns, p), token, columns, total);
        for (int t = 0; t < T; ++t) _mm256_storeu_ps(out + t * args.out_stride, total[t]);
    }
}

template <class Panels>
void panels_run(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* workspace) {
    using Block = typename Panels::Weights::Block;
    const char* weight = static_cast<const char*>(args.weight);
    for (int64_t row = row_begin; row < row_end; row += kPanels * kPanelRows) {
        const int64_t left = (row_end - row) / kPanelRows;
        const int64_t panels = left < kPanels ? left : kPanels;
        for (int64_t column = 0; column < args.k; column += kPanelColumns) {
            const int64_t columns = args.k - column < kPanelColumns ? args.k - column : kPanelColumns;
            const int64_t skipped = column / Panels::kColumns * static_cast<int64_t>(sizeof(Block));
            for (int64_t p = 0; p < panels; ++p) {
                const char* rows[kPanelRows];
                for (int64_t r = 0; r < kPanelRows; ++r)
                    rows[r] = weight + (row + p * kPanelRows + r) * args.weight_row_bytes + skipped;
                Panels::unpack(rows, columns, panel_at<Panels::kGroup>(workspace, columns, p));
            }
            int64_t token = 0;
            for (; token + 4 <= args.m; token += 4)
                multiply_tokens<Panels, 4>(args, workspace, row, panels, column, columns, token);
            for (; token < args.m; ++token)
                multiply_tokens<Panels, 1>(args, workspace, row, panels, column, columns, token);
        }
    }
}

template <class Panels>
size_t panels_workspace(const Shape* shape) {
    if (shape->m < Panels::kFewestTokens) return 0;
    const int64_t columns = shape->k < kPanelColumns ? shape->k : kPanelColumns;
    return static_cast<size_t>(kPanels * panel_bytes(columns, Panels::kGroup));
}

// Few tokens row by row; many by panels, and what is left of the rows row by row.
template <class Dot, class Panels>
void rows_or_panels_run(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& args = *static_cast<const LinearArgs*>(base);
    if (args.m >= Panels::kFewestTokens) {
        const int64_t whole = row_begin + (row_end - row_begin) / kPanelRows * kPanelRows;
        panels_run<Panels>(args, row_begin, whole, workspace);
        row_begin = whole;
    }
    linear_run<Dot>(base, row_begin, row_end, nullptr);
}

#if defined(LLMCORE_AVXVNNI)
constexpr Isa kPanelsIsa = Isa::avxvnni;
constexpr double kPanelsCost = 0.7;  // of what they cost without; estimated
#else
constexpr Isa kPanelsIsa = Isa::avx2;
constexpr double kPanelsCost = 1;
#endif

template <double (*kCost)(const Shape*)>
double panels_cost(const Shape* shape) {
    return kPanelsCost * kCost(shape);
}

// The kernel of a format, for the instruction set this file is compiled for.
template <class Panels, double (*kCost)(const Shape*)>
constexpr Kernel panels_kernel(const char* name, Format format) {
    return {.name = name,
            .op = Op::linear,
            .weight_format = format,
            .weight_layout = Layout::gguf,
            .act_layout = Layout::q8_32,
            .out_layout = Layout::f32,
            .isa = kPanelsIsa,
            .supports = Panels::supports,
            .cost = panels_cost<kCost>,
            .workspace_bytes = panels_workspace<Panels>,
            .run = rows_or_panels_run<typename Panels::Dot, Panels>};
}

}  // namespace
}  // namespace llmcore
