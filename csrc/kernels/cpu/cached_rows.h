// Rows of the cache, one head of one token each, as the vector kernels read and write them, on any Vec.
#pragma once

#include "kernels/cpu/cache_codes.h"
#include "kernels/cpu/vector.h"
#include "quant/formats.h"

namespace llmcore {
namespace {

// Rows whose numbers can be read from any lane on.
template <class Cell>
struct PlainRows {
    static constexpr bool kExpands = false;
    static constexpr int64_t kGroup = 1;  // head sizes are multiples of it

    static constexpr int64_t bytes(int64_t dim) { return dim * static_cast<int64_t>(sizeof(Cell)); }
    static LLMCORE_INLINE Vec load(const char* row, int64_t d) {
        return Vec::load(reinterpret_cast<const Cell*>(row) + d);
    }
    static LLMCORE_INLINE void write(const float* from, char* row, int64_t n) {
        Cell* to = reinterpret_cast<Cell*>(row);
        int64_t i = 0;
        for (; i + Vec::kLanes <= n; i += Vec::kLanes) Vec::load(from + i).store(to + i);
        if (i < n) {
            Cell last[Vec::kLanes];
            Vec::load_first(from + i, n - i).store(last);
            memcpy(to + i, last, static_cast<size_t>(n - i) * sizeof(Cell));
        }
    }
};

using F32Rows = PlainRows<float>;
using F16Rows = PlainRows<uint16_t>;
using Bf16Rows = PlainRows<Bf16>;

LLMCORE_INLINE Extremes extremes_of_block(const float* x) {
    const Vec zero = Vec::set(0);
    Vec highest = Vec::load(x);
    Vec lowest = zero - highest;
    Vec finite = highest * zero;
    for (int i = Vec::kLanes; i < 32; i += Vec::kLanes) {
        const Vec v = Vec::load(x + i);
        highest = max(highest, v);
        lowest = max(lowest, zero - v);
        finite = fma(v, zero, finite);
    }
    return {highest.maximum(), lowest.maximum(), finite.sum() == 0};
}

// What is not a number becomes `least`.
LLMCORE_INLINE Vec nearest_code(const float* x, Vec inverse, Vec shift, float least, float most) {
    return min(max(nearest_integer(Vec::load(x) * inverse) + shift, Vec::set(least)), Vec::set(most));
}

struct Q8Rows {
    static constexpr bool kExpands = true;
    static constexpr int64_t kGroup = 32;

    static constexpr int64_t bytes(int64_t dim) { return dim / 32 * static_cast<int64_t>(sizeof(BlockQ8_0)); }
    static LLMCORE_INLINE void expand(const char* row, float* to, int64_t dim) {
        const auto* blocks = reinterpret_cast<const BlockQ8_0*>(row);
        for (int64_t b = 0; b < dim / 32; ++b) {
            const Vec d = Vec::set_half(blocks[b].d);
            unrolled<0, 32 / Vec::kLanes>([&](auto i) __attribute__((always_inline)) {
                constexpr int kAt = i.value * Vec::kLanes;
                (Vec::load(blocks[b].qs + kAt) * d).store(to + b * 32 + kAt);
            });
        }
    }
    static LLMCORE_INLINE void write(const float* from, char* row, int64_t n) {
        auto* blocks = reinterpret_cast<BlockQ8_0*>(row);
        for (int64_t b = 0; b < n / 32; ++b) {
            const float* x = from + b * 32;
            const CodeScale scale = code_scale(scale_of_q8(extremes_of_block(x)));
            blocks[b].d = scale.half;
            const Vec inverse = Vec::set(scale.inverse);
            for (int i = 0; i < 32; i += Vec::kLanes)
                nearest_code(x + i, inverse, Vec::set(0), -127, 127).store(blocks[b].qs + i);
        }
    }
};

struct Q4Rows {
    static constexpr bool kExpands = true;
    static constexpr int64_t kGroup = 32;

    static constexpr int64_t bytes(int64_t dim) { return dim / 32 * static_cast<int64_t>(sizeof(BlockQ4_0)); }
    static LLMCORE_INLINE void expand(const char* row, float* to, int64_t dim) {
        const auto* blocks = reinterpret_cast<const BlockQ4_0*>(row);
        for (int64_t b = 0; b < dim / 32; ++b) {
            const Vec d = Vec::set_half(blocks[b].d);
            const Vec least = d * Vec::set(-8);
            unrolled<0, 16 / Vec::kLanes>([&](auto i) __attribute__((always_inline)) {
                constexpr int kAt = i.value * Vec::kLanes;
                Vec low, high;
                Vec::load_nibbles(blocks[b].qs + kAt, &low, &high);
                fma(low, d, least).store(to + b * 32 + kAt);  // exact: few bits
                fma(high, d, least).store(to + b * 32 + 16 + kAt);
            });
        }
    }
    static LLMCORE_INLINE void write(const float* from, char* row, int64_t n) {
        auto* blocks = reinterpret_cast<BlockQ4_0*>(row);
        const Vec shift = Vec::set(8);
        for (int64_t b = 0; b < n / 32; ++b) {
            const float* x = from + b * 32;
            const CodeScale scale = code_scale(scale_of_q4(extremes_of_block(x)));
            blocks[b].d = scale.half;
            const Vec inverse = Vec::set(scale.inverse);
            for (int i = 0; i < 16; i += Vec::kLanes) {
                const Vec low = nearest_code(x + i, inverse, shift, 0, 15);
                const Vec high = nearest_code(x + 16 + i, inverse, shift, 0, 15);
                fma(high, Vec::set(16), low).store(blocks[b].qs + i);
            }
        }
    }
};

}  // namespace
}  // namespace llmcore
