// Largest values of a row's blocks on any Vec.
#pragma once

#include <float.h>

#include "kernels/cpu/vector.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool row_max_supports(const Shape*) { return true; }

// 0, or NaN where a lane is NaN or +infinity.
LLMCORE_INLINE Vec unsound(Vec x, Vec before) {
    return fma(max(Vec::set(-FLT_MAX), x), Vec::set(0), before);  // this order keeps what is not a number
}

LLMCORE_INLINE float block_max(const float* x, int64_t n) {
    Vec largest = Vec::set(-HUGE_VALF);
    Vec zero = Vec::set(0);
    int64_t i = 0;
    for (; i + Vec::kLanes <= n; i += Vec::kLanes) {
        const Vec values = Vec::load(x + i);
        largest = max(values, largest);
        zero = unsound(values, zero);
    }
    if (i < n) {
        float rest[Vec::kLanes];
        Vec::set(-HUGE_VALF).store(rest);
        memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(float));
        const Vec values = Vec::load(rest);
        largest = max(values, largest);
        zero = unsound(values, zero);
    }
    return largest.maximum() + zero.sum();
}

void row_max_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const RowBlocksArgs& args = *static_cast<const RowBlocksArgs*>(base);
    int64_t block = row_begin;
    for (; block < row_end && (block + 1) * kRowBlock <= args.n; ++block)
        args.out[block] = block_max(args.x + block * kRowBlock, kRowBlock);
    if (block < row_end) args.out[block] = block_max(args.x + block * kRowBlock, args.n - block * kRowBlock);
}

}  // namespace
}  // namespace llmcore
