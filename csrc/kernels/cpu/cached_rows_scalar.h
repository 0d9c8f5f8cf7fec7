// Rows of the cache, one head of one token each, as the scalar kernels read and write them.
#pragma once

#include <math.h>

#include "kernels/cpu/cache_codes.h"
#include "quant/formats.h"
#include "quant/half.h"

namespace llmcore {
namespace {

template <class Stored, float (*kRead)(Stored), Stored (*kWrite)(float)>
struct PlainRows {
    static constexpr int64_t kGroup = 1;  // head sizes are multiples of it

    static int64_t bytes(int64_t dim) { return dim * static_cast<int64_t>(sizeof(Stored)); }
    static float at(const char* row, int64_t i) { return kRead(reinterpret_cast<const Stored*>(row)[i]); }
    static void write(const float* from, char* row, int64_t n) {
        for (int64_t i = 0; i < n; ++i) reinterpret_cast<Stored*>(row)[i] = kWrite(from[i]);
    }
};

inline float same(float x) { return x; }

inline float expand_bf16(uint16_t upper) { return float_from_bits(static_cast<uint32_t>(upper) << 16); }

// To nearest, ties to even; what is not a number stays so.
inline uint16_t round_to_bf16(float x) {
    const uint32_t bits = float_bits(x);
    if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

using F32Rows = PlainRows<float, same, same>;
using F16Rows = PlainRows<uint16_t, expand_half, round_to_half>;
using Bf16Rows = PlainRows<uint16_t, expand_bf16, round_to_bf16>;

inline Extremes extremes_of_block(const float* x) {
    Extremes block = {-HUGE_VALF, -HUGE_VALF, true};
    for (int i = 0; i < 32; ++i) {
        if (x[i] > block.highest) block.highest = x[i];
        if (-x[i] > block.lowest) block.lowest = -x[i];
        block.finite = block.finite && x[i] * 0 == 0;
    }
    return block;
}

// What is not a number becomes `least`.
inline int nearest_code(float x, float inverse, float shift, float least, float most) {
    const float code = nearbyintf(x * inverse) + shift;
    return static_cast<int>(code > least ? (code < most ? code : most) : least);
}

struct Q8Rows {
    static constexpr int64_t kGroup = 32;

    static int64_t bytes(int64_t dim) { return dim / 32 * static_cast<int64_t>(sizeof(BlockQ8_0)); }
    static float at(const char* row, int64_t i) {
        const BlockQ8_0& block = reinterpret_cast<const BlockQ8_0*>(row)[i / 32];
        return expand_half(block.d) * static_cast<float>(block.qs[i % 32]);
    }
    static void write(const float* from, char* row, int64_t n) {
        for (int64_t b = 0; b < n / 32; ++b) {
            BlockQ8_0& block = reinterpret_cast<BlockQ8_0*>(row)[b];
            const CodeScale scale = code_scale(scale_of_q8(extremes_of_block(from + b * 32)));
            block.d = scale.half;
            for (int i = 0; i < 32; ++i) {
                const int code = nearest_code(from[b * 32 + i], scale.inverse, 0, -127, 127);
                block.qs[i] = static_cast<int8_t>(code);
            }
        }
    }
};

struct Q4Rows {
    static constexpr int64_t kGroup = 32;

    static int64_t bytes(int64_t dim) { return dim / 32 * static_cast<int64_t>(sizeof(BlockQ4_0)); }
    static float at(const char* row, int64_t i) {
        const BlockQ4_0& block = reinterpret_cast<const BlockQ4_0*>(row)[i / 32];
        const int both = block.qs[i % 16];
        return expand_half(block.d) * static_cast<float>((i % 32 < 16 ? both & 15 : both >> 4) - 8);
    }
    static void write(const float* from, char* row, int64_t n) {
        for (int64_t b = 0; b < n / 32; ++b) {
            BlockQ4_0& block = reinterpret_cast<BlockQ4_0*>(row)[b];
            const float* x = from + b * 32;
            const CodeScale scale = code_scale(scale_of_q4(extremes_of_block(x)));
            block.d = scale.half;
            for (int i = 0; i < 16; ++i) {
                const int low = nearest_code(x[i], scale.inverse, 8, 0, 15);
                const int high = nearest_code(x[16 + i], scale.inverse, 8, 0, 15);
                block.qs[i] = static_cast<uint8_t>(high << 4 | low);
            }
        }
    }
};

}  // namespace
}  // namespace llmcore
