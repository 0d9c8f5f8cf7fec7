// RMSNorm on any Vec.
#pragma once

#include "kernels/cpu/vector.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool norm_supports(const Shape*) { return true; }

LLMCORE_INLINE float sum_of_squares(const float* x, int64_t n) {
    constexpr int kChains = 4;
    Vec total[kChains] = {Vec::set(0), Vec::set(0), Vec::set(0), Vec::set(0)};
    int64_t i = 0;
    for (; i + kChains * Vec::kLanes <= n; i += kChains * Vec::kLanes) {
        for (int c = 0; c < kChains; ++c) {
            const Vec v = Vec::load(x + i + c * Vec::kLanes);
            total[c] = fma(v, v, total[c]);
        }
    }
    for (; i < n; i += Vec::kLanes) {
        const Vec v = Vec::load_first(x + i, n - i < Vec::kLanes ? n - i : Vec::kLanes);
        total[0] = fma(v, v, total[0]);
    }
    return ((total[0] + total[1]) + (total[2] + total[3])).sum();
}

void norm_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const NormArgs& args = *static_cast<const NormArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* x = args.x + row * args.x_stride;
        float* out = args.out + row * args.out_stride;
        const float mean = sum_of_squares(x, args.n) / static_cast<float>(args.n) + args.eps;
        const Vec factor = Vec::set(mean == 0 ? 0 : 1 / sqrtf(mean));
        const float* residual = args.residual != nullptr ? args.residual + row * args.out_stride : nullptr;
        int64_t i = 0;
        for (; i + Vec::kLanes <= args.n; i += Vec::kLanes) {
            const Vec scaled = Vec::load(x + i) * factor * Vec::load(args.weight + i);
            (residual != nullptr ? scaled + Vec::load(residual + i) : scaled).store(out + i);
        }
        if (i < args.n) {
            const int64_t left = args.n - i;
            const Vec scaled = Vec::load_first(x + i, left) * factor * Vec::load_first(args.weight + i, left);
            (residual != nullptr ? scaled + Vec::load_first(residual + i, left) : scaled)
                .store_first(out + i, left);
        }
    }
}

}  // namespace
}  // namespace llmcore
