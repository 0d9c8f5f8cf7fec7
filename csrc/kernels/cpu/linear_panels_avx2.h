// Products of several tokens with AVX2, or with AVX-VNNI's sums of four products: a tile of rows is unpacked
// once into panels that stay in L1, and all tokens pass by.
//
// `Panels` describes how a format fills one:
//     using Weights; constexpr int kGroup, 16 or 32: columns that share a scale; constexpr int kSums:
//     products of pairs whose sum fits in 16 bits; constexpr bool kSigned; constexpr ScaleKind kScales;
//     constexpr PanelBias kBias; constexpr int64_t kColumns of a block; constexpr int64_t kFewestTokens:
//     below, unpacking costs more than it saves (measured); static void unpack(const char* const* rows,
//     int64_t columns, const Panel&); using Dot: what few tokens are multiplied with; static bool
//     supports(const Shape*).
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/panel_avx2.h"

namespace llmcore {
namespace {

constexpr int kPanels = 2;  // unpacked and multiplied together: they share broadcasts
constexpr int64_t kTileRows = kPanels * kPanelRows;

enum class ScaleKind {
    real,     // float, multiplies a group's sum
    integer,  // scale_lane() of an integer; d of Panel::ends multiplies 256 columns
};

enum class PanelBias {
    none,
    real,     // float, multiplies the activations' sum of 32
    integer,  // pairs of int16 that multiply two sums of 16, added to the products
    minimum,  // the same, subtracted times dmin of Panel::ends
};

// The rows that are unpacked next, brought near while others are multiplied: if all were asked for at once,
// memory would rest between.
struct Upcoming {
    const char* column;  // of the first row
    int64_t row_bytes;
    int64_t lines;  // of 64 bytes of all rows, still to fetch
    int64_t row;

    LLMCORE_INLINE void fetch(int64_t count) {
        for (; count > 0 && lines > 0; --count, --lines) {
            __builtin_prefetch(column + row * row_bytes, 0, 2);
            if (++row == kTileRows) {
                row = 0;
                column += 64;
            }
        }
    }
};

// Packed activations of T tokens from a column on: bytes, and what there is of 32 of them, both as offsets
// from a token's begin, so that all tokens step on with one addition.
template <int T>
struct PackedTokens {
    const char* token[T];
    int64_t q;
    int64_t d;  // sums and dsum lie a fixed distance away
    int64_t dsum_distance, sums_distance;

    LLMCORE_INLINE PackedTokens(const LinearArgs& args, int64_t first, int64_t column) {
        const Q8x32Layout layout = q8x32_layout(args.k);
        for (int t = 0; t < T; ++t)
            token[t] = static_cast<const char*>(args.act) + (first + t) * args.act_row_bytes;
        q = column;
        d = layout.d_offset + column / 8;
        dsum_distance = layout.dsum_offset - layout.d_offset;
        sums_distance = layout.sums_offset - layout.d_offset;
    }

    LLMCORE_INLINE void step() {
        q += 32;
        d += 4;
        // Else the compiler makes a pointer of every sum of these, and has no registers for them.
        asm("" : "+r"(q), "+r"(d));
    }
};

LLMCORE_INLINE __m256i broadcast_word(const void* p) {
    return _mm256_set1_epi32(static_cast<int>(load_u32(p)));
}

#if defined(LLMCORE_AVXVNNI)

// int16 scales as multiply_run() takes them.
LLMCORE_INLINE __m256i scale_lane(__m256i int32) { return int32; }

// Adds the products of Steps times four columns from step First on, scaled, to the sums: lanes are rows.
template <class Panels, int First, int Steps, int P, int T>
LLMCORE_INLINE void multiply_run(const uint8_t* const (&q)[P], const char* const (&act)[T],
                                 const char* const (&scale)[P], __m256i (&sum)[P][T]) {
    __m256i products[P][T];
    unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
        products[decltype(i)::value / T][decltype(i)::value % T] = _mm256_setzero_si256();
    });
    unrolled<First, First + Steps>([&](auto s) __attribute__((always_inline)) {
        constexpr int kStep = decltype(s)::value;
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const __m256i bytes = broadcast_word(act[kT] + 4 * kStep);
            unrolled<0, P>([&](auto p) __attribute__((always_inline)) {
                constexpr int kP = decltype(p)::value;
                const __m256i w = load_256(q[kP] + 32 * kStep);
                products[kP][kT] = Panels::kSigned ? add_four_products(products[kP][kT], _mm256_abs_epi8(w),
                                                                       _mm256_sign_epi8(bytes, w))
                                                   : add_four_products(products[kP][kT], w, bytes);
            });
        });
    });
    unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
        constexpr int kP = decltype(i)::value / T, kT = decltype(i)::value % T;
        if constexpr (Panels::kScales == ScaleKind::integer)
            products[kP][kT] = _mm256_mullo_epi32(products[kP][kT], load_256(scale[kP]));
        sum[kP][kT] = _mm256_add_epi32(sum[kP][kT], products[kP][kT]);
    });
}

template <class Panels, int Steps>
constexpr int kRunSteps = Steps;

#else

LLMCORE_INLINE __m256i scale_lane(__m256i int32) {
    return _mm256_or_si256(_mm256_and_si256(int32, _mm256_set1_epi32(0xFFFF)), _mm256_slli_epi32(int32, 16));
}

template <class Panels, int First, int Steps, int P, int T>
LLMCORE_INLINE void multiply_run(const uint8_t* const (&q)[P], const char* const (&act)[T],
                                 const char* const (&scale)[P], __m256i (&sum)[P][T]) {
    __m256i pairs[P][T];
    unrolled<First, First + Steps>([&](auto s) __attribute__((always_inline)) {
        constexpr int kStep = decltype(s)::value;
        __m256i w[P];
        for (int p = 0; p < P; ++p) w[p] = load_256(q[p] + 32 * kStep);
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const __m256i bytes = broadcast_word(act[kT] + 4 * kStep);
            unrolled<0, P>([&](auto p) __attribute__((always_inline)) {
                constexpr int kP = decltype(p)::value;
                const __m256i product = Panels::kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(w[kP]),
                                                                               _mm256_sign_epi8(bytes, w[kP]))
                                                        : _mm256_maddubs_epi16(w[kP], bytes);
                pairs[kP][kT] = kStep == First ? product : _mm256_add_epi16(pairs[kP][kT], product);
                fix_order(pairs[kP][kT]);
            });
        });
    });
    unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
        constexpr int kP = decltype(i)::value / T, kT = decltype(i)::value % T;
        __m256i factor = _mm256_set1_epi16(1);
        if constexpr (Panels::kScales == ScaleKind::integer) factor = load_256(scale[kP]);
        sum[kP][kT] = _mm256_add_epi32(sum[kP][kT], _mm256_madd_epi16(pairs[kP][kT], factor));
        fix_order(sum[kP][kT]);
    });
}

// Steps whose sums fit in 16 bits.
template <class Panels, int Steps>
constexpr int kRunSteps = Panels::kSums < Steps ? Panels::kSums : Steps;

#endif

// The products of 32 columns of P panels with T tokens, times integer scales if the format has them.
template <class Panels, int P, int T>
LLMCORE_INLINE void multiply_group(const Panel& panel, const PackedTokens<T>& tokens, __m256i (&sum)[P][T]) {
    constexpr int kScaleSteps = Panels::kGroup / 4;
    constexpr int kRun = kRunSteps<Panels, kScaleSteps>;
    const uint8_t* q[P];
    const char* act[T];
    for (int p = 0; p < P; ++p) q[p] = panel.q + p * kPanelBytes<Panels::kGroup>;
    for (int t = 0; t < T; ++t) act[t] = tokens.token[t] + tokens.q;
    unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
        sum[decltype(i)::value / T][decltype(i)::value % T] = _mm256_setzero_si256();
    });
    unrolled<0, 8 / kRun>([&](auto run) __attribute__((always_inline)) {
        constexpr int kFirst = decltype(run)::value * kRun;
        const char* scale[P];
        for (int p = 0; p < P; ++p)
            scale[p] = panel.scale + p * kPanelBytes<Panels::kGroup> + kFirst / kScaleSteps * 32;
        multiply_run<Panels, kFirst, kRun>(q, act, scale, sum);
    });
}

// Adds 32 columns of panel P and token T: to `part` what d of 256 columns is still to multiply, to `total`
// the rest but real biases.
template <class Panels, int P, int T, int Tokens>
LLMCORE_INLINE void add_group(const Panel& panel, const PackedTokens<Tokens>& tokens, __m256i sum,
                              __m256& part, __m256& total) {
    constexpr int64_t kOffset = P * kPanelBytes<Panels::kGroup>;
    const char* of_32 = tokens.token[T] + tokens.d;
    const __m256 d = _mm256_broadcast_ss(reinterpret_cast<const float*>(of_32));
    if constexpr (Panels::kBias == PanelBias::integer || Panels::kBias == PanelBias::minimum) {
        const __m256i sums = broadcast_word(of_32 + tokens.sums_distance);
        const __m256i bias = _mm256_madd_epi16(load_256(panel.bias + kOffset), sums);
        if constexpr (Panels::kBias == PanelBias::integer) {
            sum = _mm256_add_epi32(sum, bias);
        } else {
            const __m256 dmin = _mm256_loadu_ps(panel.ends + kOffset / 4 + 8);
            total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(bias), _mm256_mul_ps(dmin, d), total);
        }
    }
    const __m256 product = _mm256_cvtepi32_ps(sum);
    if constexpr (Panels::kScales == ScaleKind::integer) {
        part = _mm256_fmadd_ps(product, d, part);
    } else {
        const __m256 scale = _mm256_loadu_ps(reinterpret_cast<const float*>(panel.scale + kOffset));
        total = _mm256_fmadd_ps(product, _mm256_mul_ps(scale, d), total);
    }
}

// Adds real biases times the activations' sums: apart, since the sums of the products leave no registers.
template <class Panels, int P, int T>
LLMCORE_INLINE void add_biases(Panel panel, PackedTokens<T> tokens, int64_t groups, __m256 (&total)[P][T]) {
    for (; groups > 0; --groups) {
        __m256 bias[P];
        for (int p = 0; p < P; ++p) {
            const char* at = panel.bias + p * kPanelBytes<Panels::kGroup>;
            bias[p] = _mm256_loadu_ps(reinterpret_cast<const float*>(at));
        }
        unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
            constexpr int kP = decltype(i)::value % P, kT = decltype(i)::value / P;
            const char* dsum = tokens.token[kT] + tokens.d + tokens.dsum_distance;
            total[kP][kT] = _mm256_fmadd_ps(
                bias[kP], _mm256_broadcast_ss(reinterpret_cast<const float*>(dsum)), total[kP][kT]);
        });
        panel.bias += 32;
        tokens.step();
    }
}

// P panels with T tokens. The first columns' products are written, the others' added.
template <class Panels, int P, int T>
LLMCORE_NOINLINE void multiply_tokens(const LinearArgs& args, void* workspace, int64_t row, int64_t column,
                                      int64_t columns, int64_t first_token, Upcoming& following) {
    constexpr int kGroups = Panels::kColumns / 32;
    const int64_t tiles_left = (args.m - first_token + kTokenTile - 1) / kTokenTile;
    Upcoming upcoming = following;                                           // in registers
    const int64_t lines = upcoming.lines * 32 / (columns * tiles_left) + 1;  // a group
    PackedTokens<T> tokens(args, first_token, column);
    Panel panel = panel_at<Panels::kGroup>(workspace, 0);
    __m256 total[P][T];
    float* out = args.out + first_token * args.out_stride + row - args.out_offset;
    unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
        constexpr int kP = decltype(i)::value / T, kT = decltype(i)::value % T;
        total[kP][kT] =
            column == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(out + kT * args.out_stride + kP * kPanelRows);
    });
    if constexpr (Panels::kBias == PanelBias::real) add_biases<Panels>(panel, tokens, columns / 32, total);
    for (int64_t left = columns / 32; left > 0; left -= kGroups) {
        __m256 part[P][T] = {};
        for (int group = 0; group < kGroups; ++group) {
            upcoming.fetch(lines);
            __m256i sum[P][T];
            multiply_group<Panels>(panel, tokens, sum);
            unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
                constexpr int kP = decltype(i)::value % P, kT = decltype(i)::value / P;
                add_group<Panels, kP, kT>(panel, tokens, sum[kP][kT], part[kP][kT], total[kP][kT]);
            });
            panel.q += 32 * kPanelRows;
            panel.scale += 32 / Panels::kGroup * 32;
            panel.bias += 32;
            tokens.step();
        }
        if constexpr (Panels::kScales == ScaleKind::integer) {
            unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
                constexpr int kP = decltype(i)::value / T, kT = decltype(i)::value % T;
                const __m256 d = _mm256_loadu_ps(panel.ends + kP * kPanelBytes<Panels::kGroup> / 4);
                total[kP][kT] = _mm256_fmadd_ps(part[kP][kT], d, total[kP][kT]);
            });
            panel.ends += 16;
        }
    }
    unrolled<0, P * T>([&](auto i) __attribute__((always_inline)) {
        constexpr int kP = decltype(i)::value / T, kT = decltype(i)::value % T;
        _mm256_storeu_ps(out + kT * args.out_stride + kP * kPanelRows, total[kP][kT]);
    });
    following = upcoming;
}

// All tokens with P panels.
template <class Panels, int P>
LLMCORE_INLINE void multiply_all(const LinearArgs& args, void* workspace, int64_t row, int64_t column,
                                 int64_t columns, Upcoming upcoming) {
    int64_t token = 0;
    for (; token + kTokenTile <= args.m; token += kTokenTile)
        multiply_tokens<Panels, P, kTokenTile>(args, workspace, row, column, columns, token, upcoming);
    switch (args.m - token) {
        case 3:
            multiply_tokens<Panels, P, 3>(args, workspace, row, column, columns, token, upcoming);
            break;
        case 2:
            multiply_tokens<Panels, P, 2>(args, workspace, row, column, columns, token, upcoming);
            break;
        case 1:
            multiply_tokens<Panels, P, 1>(args, workspace, row, column, columns, token, upcoming);
            break;
        default:
            break;
    }
}

template <class Panels>
void panels_run(const LinearArgs& args, int64_t row_begin, int64_t row_end, void* workspace) {
    constexpr int64_t kBlockBytes = sizeof(typename Panels::Weights::Block);
    const char* weight = static_cast<const char*>(args.weight);
    for (int64_t row = row_begin; row < row_end; row += kTileRows) {
        const int64_t left = (row_end - row) / kPanelRows;
        const int64_t panels = left < kPanels ? left : kPanels;
        for (int64_t column = 0; column < args.k; column += kPanelColumns) {
            const int64_t rest = args.k - column;
            const int64_t columns = rest < kPanelColumns ? rest : kPanelColumns;
            const char* first =
                weight + row * args.weight_row_bytes + column / Panels::kColumns * kBlockBytes;
            for (int64_t p = 0; p < panels; ++p) {
                const char* rows[kPanelRows];
                for (int64_t r = 0; r < kPanelRows; ++r)
                    rows[r] = first + (p * kPanelRows + r) * args.weight_row_bytes;
                Panels::unpack(rows, columns, panel_at<Panels::kGroup>(workspace, p));
            }
            // The same rows' next columns or the next rows' first ones; prefetching beyond the last does
            // nothing.
            const int64_t bytes = columns / Panels::kColumns * kBlockBytes;
            const char* next =
                rest > columns ? first + bytes : weight + (row + kTileRows) * args.weight_row_bytes;
            const Upcoming upcoming = {next, args.weight_row_bytes, (bytes / 64 + 1) * kTileRows, 0};
            if (panels == kPanels) {
                multiply_all<Panels, kPanels>(args, workspace, row, column, columns, upcoming);
            } else {
                multiply_all<Panels, 1>(args, workspace, row, column, columns, upcoming);
            }
        }
    }
}

template <class Panels>
size_t panels_workspace(const Shape* shape) {
    return shape->m < Panels::kFewestTokens ? 0 : static_cast<size_t>(kPanels * kPanelBytes<Panels::kGroup>);
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
