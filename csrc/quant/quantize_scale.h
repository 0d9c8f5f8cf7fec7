// x = scale * level: finds the scale for which the nearest levels of a codebook leave the least squared
// error.
//
// For fixed levels q the best scale is sum(x q) / sum(q q) and leaves sum(x x) - sum(x q)^2 / sum(q q), so
// a candidate is worth sum(x q)^2 / sum(q q), without computing any difference.
#pragma once

#include <cstdint>

#include "quant/block_expand.h"
#include "quant/quantize_lanes.h"
#include "quant/quantize_rounding.h"

namespace llmcore {
namespace {

// Codebooks: nearest() gives levels as floats.

template <int kLow, int kHigh>
struct IntegerLevels {
    static Lanes nearest(Lanes v) { return round_lanes(clamp_lanes(v, lanes(kLow), lanes(kHigh))); }
    // The number stored for a level, counted from the lowest.
    static int code(float level) { return static_cast<int>(level) - kLow; }
};

// Index of the level nearest to each step of a half from -128 to 127.5: all midpoints between levels are on
// that grid.
struct NonlinearTable {
    float level[512];
    std::uint8_t code[512];
    constexpr NonlinearTable() : level(), code() {
        for (int i = 0; i < 512; ++i) {
            int best = 0;
            for (int k = 1; k < 16; ++k)  // a step stands for [value, value + 0.5), so compare its middle
                if (distance(i, k) < distance(i, best)) best = k;
            code[i] = static_cast<std::uint8_t>(best);
            level[i] = kNonlinear4[best];
        }
    }
    static constexpr float distance(int i, int k) {
        const float difference = (static_cast<float>(i - 256) + 0.5F) / 2.0F - kNonlinear4[k];
        return difference < 0 ? -difference : difference;
    }
};
constexpr NonlinearTable kNonlinearTable;

struct NonlinearLevels {
    static Lanes nearest(Lanes v) {
        const Lanes steps =
            clamp_lanes(v, lanes(-128.0F), lanes(127.0F)) * 2.0F + 256.0F;  // >= 0: truncates down
        const LaneInts at = __builtin_convertvector(steps, LaneInts);
        return Lanes{kNonlinearTable.level[at[0]], kNonlinearTable.level[at[1]], kNonlinearTable.level[at[2]],
                     kNonlinearTable.level[at[3]]};
    }
    static int code(float level) { return kNonlinearTable.code[static_cast<int>(level * 2.0F + 256.0F)]; }
};

struct LevelSums {
    float xq;
    float qq;
    float worth() const { return qq > 0 ? xq * xq / qq : 0.0F; }
    float scale() const { return qq > 0 ? xq / qq : 0.0F; }
};

template <typename Levels, int kSize>
LevelSums level_sums(const float* x, float inverse) {
    Lanes xq = lanes(0.0F);
    Lanes qq = lanes(0.0F);
    for (int i = 0; i < kSize; i += 4) {
        const Lanes v = load_lanes(x + i);
        const Lanes q = Levels::nearest(v * inverse);
        xq += v * q;
        qq += q * q;
    }
    return {sum_lanes(xq), sum_lanes(qq)};
}

// The squared error itself: exact where a difference of sums would drown in rounding.
template <typename Levels, int kSize>
float squared_error(const float* x, float scale) {
    const float inverse = inverse_or_zero(scale);
    Lanes sum = lanes(0.0F);
    for (int i = 0; i < kSize; i += 4) {
        const Lanes v = load_lanes(x + i);
        const Lanes error = v - Levels::nearest(v * inverse) * scale;
        sum += error * error;
    }
    return sum_lanes(sum);
}

// Where to look: the largest magnitude is put at `steps` + 1 places from `first` to `last`, in units of
// levels, on the positive and on the negative side.
struct ScaleSearch {
    float first;
    float last;
    int steps;
    int refinements;

    float reach(int step) const {
        return first + (last - first) * static_cast<float>(step) / static_cast<float>(steps);
    }
};

template <typename Levels, int kSize>
float best_scale(const float* x, float largest, const ScaleSearch& search) {
    float best_worth = 0.0F;
    float scale = 0.0F;
    const auto try_inverse = [&](float inverse) {
        const LevelSums sums = level_sums<Levels, kSize>(x, inverse);
        if (sums.worth() <= best_worth * (1.0F + kSumRounding)) return false;
        best_worth = sums.worth();
        scale = sums.scale();
        return true;
    };
    for (int step = 0; step <= search.steps; ++step) {
        try_inverse(search.reach(step) / largest);
        try_inverse(-search.reach(step) / largest);
    }
    for (int i = 0; i < search.refinements; ++i)  // the best scale of its own nearest levels, again
        if (scale == 0.0F || !try_inverse(1.0F / scale)) break;
    return scale;
}

// Of the halves around a scale, the one that leaves the least error. Halves are coarse below 2^-14.
template <typename Levels, int kSize>
std::uint16_t best_half(const float* x, float scale) {
    const std::uint16_t middle = nearest_finite_half(scale);
    std::uint16_t best = 0;
    float best_error = sum_of_squares(x, kSize);
    for (int step = -1; step <= 1; ++step) {
        const std::uint16_t half = step_half(middle, step);
        const float error = squared_error<Levels, kSize>(x, expand_half(half));
        if (error < best_error) {
            best_error = error;
            best = half;
        }
    }
    return best;
}

// The numbers stored for the levels nearest to x / scale; those of level 0 where the scale is 0.
template <typename Levels, int kSize>
void write_codes(const float* x, float scale, std::uint8_t* codes) {
    const float inverse = inverse_or_zero(scale);
    for (int i = 0; i < kSize; i += 4) {
        const Lanes q = Levels::nearest(load_lanes(x + i) * inverse);
        for (int lane = 0; lane < 4; ++lane)
            codes[i + lane] = static_cast<std::uint8_t>(Levels::code(q[lane]));
    }
}

}  // namespace
}  // namespace llmcore
