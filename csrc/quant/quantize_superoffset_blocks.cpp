// Encoders of the formats whose blocks of 256 hold half-precision units of integer scales and integer
// minimums of sub-blocks: Q2_K, Q4_K, Q5_K. A minimum is subtracted, and is not negative.
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/quantize_blocks.h"
#include "quant/quantize_offset.h"
#include "quant/quantize_rounding.h"

namespace llmcore {
namespace {

template <int kHighestStep, int kSubSizeOf, int kHighestScale>
struct Offset {
    static constexpr int kHighest = kHighestStep;
    static constexpr int kSubSize = kSubSizeOf;
    static constexpr int kSubs = kSuper / kSubSize;
    static constexpr int kScales = kHighestScale;
};

template <typename Kind>
struct OffsetFit {
    std::uint16_t d = 0;
    std::uint16_t dmin = 0;
    int scales[Kind::kSubs] = {};
    int mins[Kind::kSubs] = {};
    float error = std::numeric_limits<float>::infinity();

    Line line(int scale, int minimum) const {
        return {expand_half(d) * static_cast<float>(scale),
                -(expand_half(dmin) * static_cast<float>(minimum))};
    }
};

// Sums over a block of the equations for the best d and dmin, integer scales and minimums being given.
struct UnitSums {
    double uu = 0;  // u: what d is multiplied by
    double uv = 0;  // v: what dmin is multiplied by
    double vv = 0;
    double xu = 0;
    double xv = 0;

    void add(const OffsetSums& sums, double scale, double minimum) {
        uu += scale * scale * sums.qq;
        uv += scale * minimum * sums.q;
        vv += minimum * minimum * sums.n;
        xu += scale * sums.xq;
        xv += minimum * sums.x;
    }

    // Halves for x = d u - dmin v; false if these sums do not determine them.
    bool solve(std::uint16_t& d, std::uint16_t& dmin) const {
        const double determinant = uu * vv - uv * uv;
        double best_d = uu > 0 ? xu / uu : 0;
        double best_dmin = 0;
        if (determinant > 1e-9 * uu * vv) {
            best_d = (xu * vv - xv * uv) / determinant;
            best_dmin = (xu * uv - xv * uu) / determinant;
        }
        if (!(best_d > 0) || best_dmin < 0) return false;
        d = nearest_finite_half(static_cast<float>(best_d));
        dmin = nearest_finite_half(static_cast<float>(best_dmin));
        return d != 0;
    }
};

// Chooses each sub-block's integers near those wanted; returns the sums that improve d and dmin.
template <typename Kind>
UnitSums choose_integers(const float* x, const Line* wanted, OffsetFit<Kind>& fit) {
    constexpr int kSize = Kind::kSubSize;
    const float inverse_d = inverse_or_zero(expand_half(fit.d));
    const float inverse_dmin = inverse_or_zero(expand_half(fit.dmin));
    UnitSums units;
    fit.error = 0.0F;
    for (int sub = 0; sub < Kind::kSubs; ++sub) {
        const float* values = x + sub * kSize;
        const int scale = nearest_int(wanted[sub].scale * inverse_d, 0, Kind::kScales);
        const int minimum = nearest_int(-wanted[sub].offset * inverse_dmin, 0, Kind::kScales);
        float best_error = std::numeric_limits<float>::infinity();
        for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, Kind::kScales); ++s) {
            for (int m = std::max(minimum - 1, 0); m <= std::min(minimum + 1, Kind::kScales); ++m) {
                const float error = squared_error<Kind::kHighest, kSize>(values, fit.line(s, m));
                if (error < best_error) {
                    best_error = error;
                    fit.scales[sub] = s;
                    fit.mins[sub] = m;
                }
            }
        }
        fit.error += best_error;
        const Line line = fit.line(fit.scales[sub], fit.mins[sub]);
        units.add(offset_sums<Kind::kHighest, kSize>(values, sum_of(values, kSize), line), fit.scales[sub],
                  fit.mins[sub]);
    }
    return units;
}

template <typename Kind>
OffsetFit<Kind> fit_super_block(const float* x, const OffsetSearch& search, int rounds) {
    Line wanted[Kind::kSubs];
    float largest_scale = 0.0F;
    float largest_min = 0.0F;
    for (int sub = 0; sub < Kind::kSubs; ++sub) {
        wanted[sub] = best_line<Kind::kHighest, Kind::kSubSize>(x + sub * Kind::kSubSize, 0.0F, search);
        largest_scale = std::max(largest_scale, wanted[sub].scale);
        largest_min = std::max(largest_min, -wanted[sub].offset);
    }
    OffsetFit<Kind> fit;
    fit.d = half_away_from_zero(largest_scale / static_cast<float>(Kind::kScales));
    fit.dmin = half_away_from_zero(largest_min / static_cast<float>(Kind::kScales));
    OffsetFit<Kind> best;
    for (int round = 0; round < rounds; ++round) {
        const UnitSums sums = choose_integers(x, wanted, fit);
        if (fit.error < best.error) best = fit;
        if (!sums.solve(fit.d, fit.dmin) || (fit.d == best.d && fit.dmin == best.dmin)) break;
    }
    return best;
}

template <typename Kind>
void write_super_steps(const float* x, const OffsetFit<Kind>& fit, std::uint8_t* codes) {
    for (int sub = 0; sub < Kind::kSubs; ++sub)
        write_steps<Kind::kHighest, Kind::kSubSize>(
            x + sub * Kind::kSubSize, fit.line(fit.scales[sub], fit.mins[sub]), codes + sub * Kind::kSubSize);
}

// The inverse of unpack_scales_mins().
void pack_scales_mins(const int* scales, const int* mins, std::uint8_t* packed) {
    for (int i = 0; i < 4; ++i) {
        packed[i] = static_cast<std::uint8_t>(scales[i] | (scales[4 + i] >> 4 << 6));
        packed[4 + i] = static_cast<std::uint8_t>(mins[i] | (mins[4 + i] >> 4 << 6));
        packed[8 + i] = static_cast<std::uint8_t>((scales[4 + i] & 15) | ((mins[4 + i] & 15) << 4));
    }
}

}  // namespace

void quantize_q2_k(const float* values, BlockQ2_K* blocks, std::int64_t n_blocks) {
    using Kind = Offset<3, 16, 15>;
    std::uint8_t codes[kSuper];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSuper;
        const OffsetFit<Kind> fit = fit_super_block<Kind>(x, {0.08F, 2, 2}, 3);
        write_super_steps(x, fit, codes);
        BlockQ2_K& block = blocks[b];
        block.d = fit.d;
        block.dmin = fit.dmin;
        for (int sub = 0; sub < Kind::kSubs; ++sub)
            block.scales[sub] = static_cast<std::uint8_t>(fit.scales[sub] | (fit.mins[sub] << 4));
        std::memset(block.qs, 0, sizeof block.qs);
        for (int i = 0; i < kSuper; ++i)
            block.qs[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>(codes[i] << (i / 32 % 4 * 2));
    }
}

void quantize_q4_k(const float* values, BlockQ4_K* blocks, std::int64_t n_blocks) {
    using Kind = Offset<15, 32, 63>;
    std::uint8_t codes[kSuper];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSuper;
        const OffsetFit<Kind> fit = fit_super_block<Kind>(x, {0.025F, 2, 2}, 3);
        write_super_steps(x, fit, codes);
        BlockQ4_K& block = blocks[b];
        block.d = fit.d;
        block.dmin = fit.dmin;
        pack_scales_mins(fit.scales, fit.mins, block.scales);
        std::memset(block.qs, 0, sizeof block.qs);
        for (int i = 0; i < kSuper; ++i)
            block.qs[i / 64 * 32 + i % 32] |= static_cast<std::uint8_t>(codes[i] << (i / 32 % 2 * 4));
    }
}

void quantize_q5_k(const float* values, BlockQ5_K* blocks, std::int64_t n_blocks) {
    using Kind = Offset<31, 32, 63>;
    std::uint8_t codes[kSuper];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSuper;
        const OffsetFit<Kind> fit = fit_super_block<Kind>(x, {0.012F, 2, 2}, 3);
        write_super_steps(x, fit, codes);
        BlockQ5_K& block = blocks[b];
        block.d = fit.d;
        block.dmin = fit.dmin;
        pack_scales_mins(fit.scales, fit.mins, block.scales);
        std::memset(block.qs, 0, sizeof block.qs);
        std::memset(block.qh, 0, sizeof block.qh);
        for (int i = 0; i < kSuper; ++i) {
            block.qs[i / 64 * 32 + i % 32] |= static_cast<std::uint8_t>((codes[i] & 15) << (i / 32 % 2 * 4));
            block.qh[i % 32] |= static_cast<std::uint8_t>((codes[i] >> 4) << (i / 32));
        }
    }
}

}  // namespace llmcore
