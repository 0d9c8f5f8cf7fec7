// x = scale * q + offset with q an integer from 0 to kHighest: finds the pair with the least squared error.
//
// For fixed q the best pair solves two linear equations in the sums below; for a fixed pair the best q are
// the nearest. Each step can only improve, so the search tries a grid of ranges and then alternates. Values
// are taken relative to their mean, which keeps the sums exact enough where the offset is large.
#pragma once

#include <cstdint>

#include "quant/quantize_lanes.h"

namespace llmcore {
namespace {

struct Line {
    float scale;  // >= 0
    float offset;
};

struct OffsetSums {
    float n;
    float q;
    float qq;
    float x;
    float xq;

    // By how much the squared error falls below sum(x x) with these q and a given line.
    float gain(const Line& line) const {
        const float s = line.scale;
        const float b = line.offset;
        return s * (2.0F * xq - s * qq) + b * (2.0F * (x - s * q) - b * n);
    }

    // The line of least error for these q whose offset is at most `ceiling`.
    Line best_line(float ceiling) const {
        const float determinant = n * qq - q * q;
        Line line{0.0F, x / n};
        if (determinant > 0.0F) {
            line.scale = (n * xq - x * q) / determinant;
            line.offset = (x - line.scale * q) / n;
        }
        if (line.offset > ceiling) line = {qq > 0.0F ? (xq - ceiling * q) / qq : 0.0F, ceiling};
        return line.scale >= 0.0F ? line : Line{0.0F, x / n < ceiling ? x / n : ceiling};
    }
};

template <int kHighest>
Lanes nearest_step(Lanes v, const Line& line, float inverse) {
    return round_lanes(clamp_lanes((v - line.offset) * inverse, lanes(0.0F), lanes(kHighest)));
}

template <int kHighest, int kSize>
OffsetSums offset_sums(const float* x, float sum_x, const Line& line) {
    const float inverse = inverse_or_zero(line.scale);
    Lanes sum_q = lanes(0.0F);
    Lanes sum_qq = lanes(0.0F);
    Lanes sum_xq = lanes(0.0F);
    for (int i = 0; i < kSize; i += 4) {
        const Lanes v = load_lanes(x + i);
        const Lanes q = nearest_step<kHighest>(v, line, inverse);
        sum_q += q;
        sum_qq += q * q;
        sum_xq += v * q;
    }
    return {kSize, sum_lanes(sum_q), sum_lanes(sum_qq), sum_x, sum_lanes(sum_xq)};
}

template <int kHighest, int kSize>
float squared_error(const float* x, const Line& line) {
    const float inverse = inverse_or_zero(line.scale);
    Lanes sum = lanes(0.0F);
    for (int i = 0; i < kSize; i += 4) {
        const Lanes v = load_lanes(x + i);
        const Lanes q = nearest_step<kHighest>(v, line, inverse);
        const Lanes error = v - (q * line.scale + line.offset);
        sum += error * error;
    }
    return sum_lanes(sum);
}

// The ranges tried: each end of the values' range is moved outwards once and inwards up to `steps` times, by
// `step` of the width.
struct OffsetSearch {
    float step;
    int steps;
    int refinements;
};

// The best line whose offset is at most `ceiling`.
template <int kHighest, int kSize>
Line best_line(const float* values, float ceiling, const OffsetSearch& search) {
    const float mean = sum_of(values, kSize) / kSize;
    float x[kSize];
    float low = values[0] - mean;
    float high = low;
    for (int i = 0; i < kSize; ++i) {
        x[i] = values[i] - mean;
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const float sum_x = sum_of(x, kSize);
    ceiling -= mean;
    low = low < ceiling ? low : ceiling;
    const float width = high - low;
    Line best{0.0F, ceiling < 0.0F ? ceiling : 0.0F};
    float best_gain = OffsetSums{kSize, 0.0F, 0.0F, sum_x, 0.0F}.gain(best);
    const auto try_line = [&](const Line& tried) {
        const OffsetSums sums = offset_sums<kHighest, kSize>(x, sum_x, tried);
        const Line line = sums.best_line(ceiling);
        const float gain = sums.gain(line);
        if (gain <= best_gain + kSumRounding * kSize * line.offset * line.offset) return false;
        best = line;
        best_gain = gain;
        return true;
    };
    if (width > kSmallestMagnitude) {
        for (int i = -1; i <= search.steps; ++i) {
            for (int j = -1; j <= search.steps; ++j) {
                const float start = low + width * search.step * static_cast<float>(i);
                const float end = high - width * search.step * static_cast<float>(j);
                try_line({(end - start) / kHighest, start < ceiling ? start : ceiling});
            }
        }
        // Values that lie on a lattice, as those of ternary models do, may need one step less or two.
        for (int fewer = 1; fewer <= 2 && fewer < kHighest; ++fewer)
            try_line({width / (kHighest - fewer), low});
        for (int i = 0; i < search.refinements; ++i)
            if (!try_line(best)) break;
    }
    return {best.scale, best.offset + mean};
}

template <int kHighest, int kSize>
void write_steps(const float* x, const Line& line, std::uint8_t* codes) {
    const float inverse = inverse_or_zero(line.scale);
    for (int i = 0; i < kSize; i += 4) {
        const Lanes q = nearest_step<kHighest>(load_lanes(x + i), line, inverse);
        for (int lane = 0; lane < 4; ++lane) codes[i + lane] = static_cast<std::uint8_t>(q[lane]);
    }
}

}  // namespace
}  // namespace llmcore
