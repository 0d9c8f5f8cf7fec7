// Dot products of float rows with weights that become floats: F32, F16, BF16.
// `Cell` says how eight weights are loaded: using Stored; static __m256 load(const Stored*).
#pragma once

#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

template <class Cell>
struct FloatDot {
    using Stored = typename Cell::Stored;

    template <int T>
    static LLMCORE_INLINE void run(const DotInput& in, float* sums) {
        constexpr int kUnroll = T <= 2 ? 4 : 2;  // chains of additions: enough to hide their latency
        const Stored* weight = reinterpret_cast<const Stored*>(in.weight);
        const float* act[T];
        __m256 total[kUnroll][T];
        for (int t = 0; t < T; ++t) act[t] = reinterpret_cast<const float*>(in.act + t * in.act_row_bytes);
        unrolled<0, kUnroll * T>([&](auto i) __attribute__((always_inline)) {
            total[i.value / T][i.value % T] = _mm256_setzero_ps();
        });
        int64_t i = 0;
        for (; i + 8 * kUnroll <= in.k; i += 8 * kUnroll) {
            prefetch<8 * kUnroll* static_cast<int>(sizeof(Stored))>(
                in.weight + i * static_cast<int64_t>(sizeof(Stored)) + in.ahead);
            unrolled<0, kUnroll>([&](auto u) __attribute__((always_inline)) {
                constexpr int kU = decltype(u)::value;
                const __m256 w = Cell::load(weight + i + 8 * kU);
                unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                    __m256& sum = total[kU][t.value];
                    sum = _mm256_fmadd_ps(w, _mm256_loadu_ps(act[t.value] + i + 8 * kU), sum);
                });
            });
        }
        for (; i + 8 <= in.k; i += 8) {
            const __m256 w = Cell::load(weight + i);
            for (int t = 0; t < T; ++t)
                total[0][t] = _mm256_fmadd_ps(w, _mm256_loadu_ps(act[t] + i), total[0][t]);
        }
        if (i < in.k) add_tail<T>(weight + i, act, i, in.k - i, total[0]);
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            __m256 sum = total[0][t.value];
            unrolled<1, kUnroll>([&](auto u) __attribute__((always_inline)) {
                sum = _mm256_add_ps(sum, total[u.value][t.value]);
            });
            sums[t.value] = sum_of(sum);
        });
    }

private:
    // The last one to seven columns, from copies with zeros after them.
    template <int T>
    static LLMCORE_INLINE void add_tail(const Stored* weight, const float* const* act, int64_t i,
                                        int64_t left, __m256* total) {
        Stored w[8] = {};
        memcpy(w, weight, static_cast<size_t>(left) * sizeof(Stored));
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            float a[8] = {};
            memcpy(a, act[t.value] + i, static_cast<size_t>(left) * sizeof(float));
            total[t.value] = _mm256_fmadd_ps(Cell::load(w), _mm256_loadu_ps(a), total[t.value]);
        });
    }
};

bool float_supports(const Shape* shape) { return shape->k > 0; }

}  // namespace
}  // namespace llmcore
