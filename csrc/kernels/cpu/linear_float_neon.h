// Dot products of float rows with weights that become floats: F32, F16, BF16.
// `Cell` says how four weights are loaded: using Stored; static float32x4_t load(const Stored*).
#pragma once

#include <arm_neon.h>
#include <string.h>

#include "kernels/cpu/linear_tiles.h"

namespace llmcore {
namespace {

template <class Cell>
struct FloatDot {
    using Stored = typename Cell::Stored;

    template <int T>
    static LLMCORE_INLINE void run(const DotInput& in, float* sums) {
        constexpr int kUnroll = T == 1 ? 8 : 4;  // chains of additions: enough to hide their latency
        const Stored* weight = reinterpret_cast<const Stored*>(in.weight);
        const float* act[T];
        float32x4_t total[kUnroll][T];
        for (int t = 0; t < T; ++t) act[t] = reinterpret_cast<const float*>(in.act + t * in.act_row_bytes);
        unrolled<0, kUnroll * T>(
            [&](auto i) __attribute__((always_inline)) { total[i.value / T][i.value % T] = vdupq_n_f32(0); });
        int64_t i = 0;
        for (; i + 4 * kUnroll <= in.k; i += 4 * kUnroll) {
            prefetch<4 * kUnroll* static_cast<int>(sizeof(Stored))>(
                in.weight + i * static_cast<int64_t>(sizeof(Stored)) + in.ahead);
            unrolled<0, kUnroll>([&](auto u) __attribute__((always_inline)) {
                constexpr int kU = decltype(u)::value;
                const float32x4_t w = Cell::load(weight + i + 4 * kU);
                unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                    float32x4_t& sum = total[kU][t.value];
                    sum = vfmaq_f32(sum, w, vld1q_f32(act[t.value] + i + 4 * kU));
                });
            });
        }
        for (; i + 4 <= in.k; i += 4) {
            const float32x4_t w = Cell::load(weight + i);
            for (int t = 0; t < T; ++t) total[0][t] = vfmaq_f32(total[0][t], w, vld1q_f32(act[t] + i));
        }
        if (i < in.k) add_tail<T>(weight + i, act, i, in.k - i, total[0]);
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            float32x4_t sum = total[0][t.value];
            unrolled<1, kUnroll>([&](auto u) __attribute__((always_inline)) {
                sum = vaddq_f32(sum, total[u.value][t.value]);
            });
            sums[t.value] = vaddvq_f32(sum);
        });
    }

private:
    // The last one to three columns, from copies with zeros after them.
    template <int T>
    static LLMCORE_INLINE void add_tail(const Stored* weight, const float* const* act, int64_t i,
                                        int64_t left, float32x4_t* total) {
        Stored w[4] = {};
        memcpy(w, weight, static_cast<size_t>(left) * sizeof(Stored));
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            float a[4] = {};
            memcpy(a, act[t.value] + i, static_cast<size_t>(left) * sizeof(float));
            total[t.value] = vfmaq_f32(total[t.value], Cell::load(w), vld1q_f32(a));
        });
    }
};

bool float_supports(const Shape* shape) { return shape->k > 0; }

}  // namespace
}  // namespace llmcore
