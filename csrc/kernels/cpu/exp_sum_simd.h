// Sums of exponentials of a row's blocks on any Vec.
#pragma once

#include "kernels/cpu/vector.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool exp_sum_supports(const Shape*) { return true; }

// 2^t for t <= 0: within 3e-7; 0 where the result would be subnormal. The polynomial is the best of its
// degree for the relative error on [-1/2, 1/2] (found by Lawson's algorithm): 7.5e-8.
LLMCORE_INLINE Vec power_of_two(Vec t) {
    t = max(t, Vec::set(-127.0f));
    const Vec n = nearest_integer(t);
    const Vec f = t - n;
    Vec series = fma(Vec::set(0.00132764725f), f, Vec::set(0.00967554096f));
    series = fma(series, f, Vec::set(0.0555071309f));
    series = fma(series, f, Vec::set(0.240221202f));
    series = fma(series, f, Vec::set(0.693146944f));
    series = fma(series, f, Vec::set(1.00000012f));
    return times_normal_power_of_two(series, n);
}

template <bool kLimited>
struct ExpSum {
    Vec max_value, scale, least;

    LLMCORE_INLINE Vec terms(Vec x) const {
        const Vec power = power_of_two((x - max_value) * scale);
        return kLimited ? where_at_least(x, least, power) : power;
    }

    LLMCORE_INLINE float operator()(const float* x, int64_t n) const {
        Vec sum = Vec::set(0);
        int64_t i = 0;
        for (; i + Vec::kLanes <= n; i += Vec::kLanes) sum = sum + terms(Vec::load(x + i));
        if (i < n) {
            float rest[Vec::kLanes];
            Vec::set(-HUGE_VALF).store(rest);
            memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(float));
            sum = sum + terms(Vec::load(rest));
        }
        return sum.sum();
    }
};

template <bool kLimited>
LLMCORE_INLINE void exp_sum_blocks(const RowBlocksArgs& args, int64_t begin, int64_t end) {
    const ExpSum<kLimited> exp_sum = {Vec::set(args.max), Vec::set(args.scale * 1.44269504f),
                                      Vec::set(args.least)};
    for (int64_t block = begin; block < end; ++block) {
        if (kLimited && args.block_max != nullptr && args.block_max[block] < args.least) {
            args.out[block] = 0;
            continue;
        }
        const float* x = args.x + block * kRowBlock;
        const int64_t left = args.n - block * kRowBlock;
        args.out[block] = left >= kRowBlock ? exp_sum(x, kRowBlock) : exp_sum(x, left);
    }
}

void exp_sum_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const RowBlocksArgs& args = *static_cast<const RowBlocksArgs*>(base);
    if (args.least == -HUGE_VALF) {
        exp_sum_blocks<false>(args, row_begin, row_end);
    } else {
        exp_sum_blocks<true>(args, row_begin, row_end);
    }
}

}  // namespace
}  // namespace llmcore
