// Dot products of quantized blocks with activations in Layout::q8_32, 128 columns at a time: sums of bytes'
// products become floats once for 16 or 32 columns and meet their scales four at a time.
//
// Compiled three times: for every AArch64 (_neon), with the dot products of bytes (_dotprod), and with the
// products of 2x8 by 8x2 bytes (_i8mm).
//
// `Weights` opens as many blocks as make up whole lots of 128 columns:
//     using Block; constexpr Format kFormat; constexpr int kColumns: of a block, 32 or 256; constexpr int
//     kGroup: columns that share a scale, 32 or 16; constexpr bool kHasBias;
//     explicit Weights(const Block*): four blocks of 32, or one of 256;
//     template <int J> Bytes32 q() const: columns 32J to 32J + 31 as int8;
//     float32x4_t scale[], bias[]: one value a group, in order; weight = scale * q + bias.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/bytes_neon.h"
#include "kernels/cpu/linear_tiles.h"

namespace llmcore {
namespace {

#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr Isa kBlockIsa = Isa::i8mm;
constexpr double kBlockMacs = 60;  // a nanosecond; estimated
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr Isa kBlockIsa = Isa::dotprod;
constexpr double kBlockMacs = 30;
#else
constexpr Isa kBlockIsa = Isa::neon;
constexpr double kBlockMacs = 10;
#endif

// Adds the products of four neighbours to each lane.
LLMCORE_INLINE int32x4_t add_dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, a, b);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    const int16x8_t high = vmull_high_s8(a, b);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}

LLMCORE_INLINE int32x4_t dot(int8x16_t a, int8x16_t b) { return add_dot(vdupq_n_s32(0), a, b); }

// The sums of four vectors' lanes.
LLMCORE_INLINE float32x4_t sums_of(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
    return vcvtq_f32_s32(vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
}

// Blocks are opened by lots. The last lot of a row may have fewer blocks, and zeros after them.
template <class Weights>
struct Lot {
    using Block = typename Weights::Block;
    static constexpr int kColumns = Weights::kColumns == 32 ? 128 : 256;
    static constexpr int kBlocks = kColumns / Weights::kColumns;
    static constexpr int kBytes = kBlocks * static_cast<int>(sizeof(Block));

    // f(Weights) of the lot at `raw`, of which `columns` are left in the row.
    template <class F>
    static LLMCORE_INLINE void open(const char* raw, int64_t columns, F f) {
        if (kBlocks == 1 || columns >= kColumns) return f(Weights(reinterpret_cast<const Block*>(raw)));
        Block last[kBlocks] = {};
        memcpy(last, raw, static_cast<size_t>(columns / Weights::kColumns) * sizeof(Block));
        f(Weights(last));
    }
};

// One row with T tokens.
template <class Weights>
struct BlockDot {
    static constexpr int kGroup = Weights::kGroup;

    template <int T>
    static LLMCORE_INLINE void run(const DotInput& in, float* sums) {
        const Q8x32Layout layout = q8x32_layout(in.k);
        float32x4_t total[T];
        for (int t = 0; t < T; ++t) total[t] = vdupq_n_f32(0);
        const char* raw = in.weight;
        for (int64_t column = 0; column < in.k;
             column += Lot<Weights>::kColumns, raw += Lot<Weights>::kBytes) {
            prefetch<Lot<Weights>::kBytes>(raw + in.ahead);
            Lot<Weights>::open(raw, in.k - column, [&](const Weights& w) __attribute__((always_inline)) {
                unrolled<0, Lot<Weights>::kColumns / 128>([&](auto part) __attribute__((always_inline)) {
                    add_part<decltype(part)::value, T>(w, in, layout, column, total);
                });
            });
        }
        for (int t = 0; t < T; ++t) sums[t] = vaddvq_f32(total[t]);
    }

private:
    template <int Part, int T>
    static LLMCORE_INLINE void add_part(const Weights& w, const DotInput& in, const Q8x32Layout& layout,
                                        int64_t column, float32x4_t* total) {
        const Bytes32 q[4] = {w.template q<4 * Part>(), w.template q<4 * Part + 1>(),
                              w.template q<4 * Part + 2>(), w.template q<4 * Part + 3>()};
        column += 128 * Part;
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const char* row = in.act + kT * in.act_row_bytes;
            const float32x4_t d =
                vld1q_f32(reinterpret_cast<const float*>(row + layout.d_offset) + column / 32);
            if constexpr (kGroup == 32) {
                // Scales first: those of weights and activations may be out of floats' range only apart.
                const float32x4_t scale = vmulq_f32(w.scale[Part], d);
                total[kT] = vfmaq_f32(total[kT], dots_of_32(q, row + column), scale);
                if constexpr (Weights::kHasBias) {
                    const float* dsum =
                        reinterpret_cast<const float*>(row + layout.dsum_offset) + column / 32;
                    total[kT] = vfmaq_f32(total[kT], w.bias[Part], vld1q_f32(dsum));
                }
            } else {
                const auto* sums = reinterpret_cast<const int16_t*>(row + layout.sums_offset) + column / 16;
                total[kT] = vfmaq_f32(total[kT], scaled_dots_of_16<Part>(w, q, row + column, sums), d);
            }
        });
    }

    static LLMCORE_INLINE float32x4_t dots_of_32(const Bytes32 (&q)[4], const char* act) {
        int32x4_t dots[4];
        unrolled<0, 4>([&](auto j) __attribute__((always_inline)) {
            constexpr int kJ = decltype(j)::value;
            const int32x4_t low = dot(q[kJ].low, load_s8(act + 32 * kJ));
            dots[kJ] = add_dot(low, q[kJ].high, load_s8(act + 32 * kJ + 16));
        });
        return sums_of(dots[0], dots[1], dots[2], dots[3]);
    }

    // Of 32 columns too, whose halves have scales of their own.
    template <int Part>
    static LLMCORE_INLINE float32x4_t scaled_dots_of_16(const Weights& w, const Bytes32 (&q)[4],
                                                        const char* act, const int16_t* act_sums) {
        int32x4_t dots[8];
        unrolled<0, 4>([&](auto j) __attribute__((always_inline)) {
            constexpr int kJ = decltype(j)::value;
            dots[2 * kJ] = dot(q[kJ].low, load_s8(act + 32 * kJ));
            dots[2 * kJ + 1] = dot(q[kJ].high, load_s8(act + 32 * kJ + 16));
        });
        float32x4_t first = vmulq_f32(sums_of(dots[0], dots[1], dots[2], dots[3]), w.scale[2 * Part]);
        float32x4_t second = vmulq_f32(sums_of(dots[4], dots[5], dots[6], dots[7]), w.scale[2 * Part + 1]);
        if constexpr (Weights::kHasBias) {
            const int16x8_t sums = vld1q_s16(act_sums);
            first = vfmaq_f32(first, w.bias[2 * Part], vcvtq_f32_s32(vmovl_s16(vget_low_s16(sums))));
            second = vfmaq_f32(second, w.bias[2 * Part + 1], vcvtq_f32_s32(vmovl_high_s16(sums)));
        }
        return vpaddq_f32(first, second);
    }
};

template <class Weights>
bool block_supports(const Shape* shape) {
    return shape->k > 0 && shape->k % Weights::kColumns == 0;
}

template <class Weights>
double block_cost(const Shape* shape) {
    constexpr double kBytes = static_cast<double>(sizeof(typename Weights::Block)) / Weights::kColumns;
    return linear_cost(shape, kBytes, kBlockMacs);
}

}  // namespace
}  // namespace llmcore
