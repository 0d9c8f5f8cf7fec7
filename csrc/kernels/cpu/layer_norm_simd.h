// LayerNorm on any Vec. Two passes: a variance from sums of squares would cancel where the mean is large.
#pragma once

#include "kernels/cpu/vector.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool layer_norm_supports(const Shape*) { return true; }

// The first n lanes less `mean`, the others 0.
LLMCORE_INLINE Vec centred(const float* x, int64_t n, Vec mean) {
    if (n >= Vec::kLanes) return Vec::load(x) - mean;
    float lanes[Vec::kLanes] = {};
    (Vec::load_first(x, n) - mean).store_first(lanes, n);
    return Vec::load(lanes);
}

LLMCORE_INLINE float row_sum(const float* x, int64_t n) {
    Vec total[2] = {Vec::set(0), Vec::set(0)};
    int64_t i = 0;
    for (; i + 2 * Vec::kLanes <= n; i += 2 * Vec::kLanes) {
        total[0] = total[0] + Vec::load(x + i);
        total[1] = total[1] + Vec::load(x + i + Vec::kLanes);
    }
    for (; i < n; i += Vec::kLanes)
        total[0] = total[0] + Vec::load_first(x + i, n - i < Vec::kLanes ? n - i : Vec::kLanes);
    return (total[0] + total[1]).sum();
}

LLMCORE_INLINE float squared_spread(const float* x, int64_t n, Vec mean) {
    Vec total[2] = {Vec::set(0), Vec::set(0)};
    int64_t i = 0;
    for (; i + 2 * Vec::kLanes <= n; i += 2 * Vec::kLanes) {
        const Vec a = Vec::load(x + i) - mean, b = Vec::load(x + i + Vec::kLanes) - mean;
        total[0] = fma(a, a, total[0]);
        total[1] = fma(b, b, total[1]);
    }
    for (; i < n; i += Vec::kLanes) {
        const Vec a = centred(x + i, n - i, mean);
        total[0] = fma(a, a, total[0]);
    }
    return (total[0] + total[1]).sum();
}

void layer_norm_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const LayerNormArgs& args = *static_cast<const LayerNormArgs*>(base);
    const auto n = static_cast<float>(args.n);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* x = args.x + row * args.x_stride;
        float* out = args.out + row * args.out_stride;
        const Vec mean = Vec::set(row_sum(x, args.n) / n);
        const float spread = squared_spread(x, args.n, mean) / n + args.eps;
        const Vec factor = Vec::set(spread == 0 ? 0 : 1 / sqrtf(spread));
        int64_t i = 0;
        for (; i + Vec::kLanes <= args.n; i += Vec::kLanes) {
            const Vec scaled = (Vec::load(x + i) - mean) * factor * Vec::load(args.weight + i);
            (args.bias != nullptr ? scaled + Vec::load(args.bias + i) : scaled).store(out + i);
        }
        if (i < args.n) {
            const int64_t left = args.n - i;
            const Vec scaled =
                (Vec::load_first(x + i, left) - mean) * factor * Vec::load_first(args.weight + i, left);
            (args.bias != nullptr ? scaled + Vec::load_first(args.bias + i, left) : scaled)
                .store_first(out + i, left);
        }
    }
}

}  // namespace
}  // namespace llmcore
