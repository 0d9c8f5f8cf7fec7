// Encoders of the formats whose blocks of 256 hold a half-precision scale and integer scales of sub-blocks,
// with signs and without minimums: Q3_K, Q6_K, IQ4_XS.
#include <algorithm>
#include <cmath>
#include <limits>

#include "quant/quantize_blocks.h"
#include "quant/quantize_scale.h"

namespace llmcore {
namespace {

template <typename LevelsType, int kSubSizeOf, int kScaleLow, int kScaleHigh>
struct Scaled {
    using Levels = LevelsType;
    static constexpr int kSubSize = kSubSizeOf;
    static constexpr int kSubs = kSuper / kSubSize;
    static constexpr int kLow = kScaleLow;
    static constexpr int kHigh = kScaleHigh;
};

template <typename Kind>
struct ScaledFit {
    std::uint16_t d = 0;
    int scales[Kind::kSubs] = {};
    float error = std::numeric_limits<float>::infinity();
};

// Chooses each sub-block's integer scale near the one wanted, and returns the best d for the levels that
// gives.
template <typename Kind>
float choose_scales(const float* x, const float* wanted, ScaledFit<Kind>& fit) {
    using Levels = typename Kind::Levels;
    constexpr int kSize = Kind::kSubSize;
    const float d = expand_half(fit.d);
    double xu = 0;  // u: what d is multiplied by
    double uu = 0;
    fit.error = 0.0F;
    for (int sub = 0; sub < Kind::kSubs; ++sub) {
        const float* values = x + sub * kSize;
        const int middle = nearest_int(wanted[sub] / d, Kind::kLow, Kind::kHigh);
        float best_error = sum_of_squares(values, kSize);
        fit.scales[sub] = 0;
        for (int scale = std::max(middle - 1, Kind::kLow); scale <= std::min(middle + 1, Kind::kHigh);
             ++scale) {
            const float error = squared_error<Levels, kSize>(values, d * static_cast<float>(scale));
            if (error < best_error) {
                best_error = error;
                fit.scales[sub] = scale;
            }
        }
        fit.error += best_error;
        if (fit.scales[sub] == 0) continue;
        const double scale = fit.scales[sub];
        const LevelSums sums = level_sums<Levels, kSize>(values, 1.0F / (d * static_cast<float>(scale)));
        xu += scale * sums.xq;
        uu += scale * scale * sums.qq;
    }
    return uu > 0 ? static_cast<float>(xu / uu) : 0.0F;
}

constexpr int kRounds = 2;  // of choosing scales and refining d

template <typename Kind>
ScaledFit<Kind> fit_super_block(const float* x, const ScaleSearch& search) {
    float wanted[Kind::kSubs];
    float extreme = 0.0F;
    for (int sub = 0; sub < Kind::kSubs; ++sub) {
        const float* values = x + sub * Kind::kSubSize;
        const float largest = max_magnitude(values, Kind::kSubSize);
        wanted[sub] = largest > kSmallestMagnitude
                          ? best_scale<typename Kind::Levels, Kind::kSubSize>(values, largest, search)
                          : 0.0F;
        if (std::fabs(wanted[sub]) > std::fabs(extreme)) extreme = wanted[sub];
    }
    ScaledFit<Kind> best;
    if (extreme == 0.0F) return best;
    for (const int end :
         {Kind::kLow, Kind::kHigh}) {  // which end of the integer scales the largest is put at
        ScaledFit<Kind> fit;
        fit.d = half_away_from_zero(extreme / static_cast<float>(end));
        for (int round = 0; round < kRounds; ++round) {
            const float refined = choose_scales(x, wanted, fit);
            if (fit.error < best.error) best = fit;
            const std::uint16_t next = nearest_finite_half(refined);
            if (next == fit.d || expand_half(next) == 0.0F) break;
            fit.d = next;
        }
    }
    return best;
}

template <typename Kind>
void write_super_codes(const float* x, const ScaledFit<Kind>& fit, std::uint8_t* codes) {
    for (int sub = 0; sub < Kind::kSubs; ++sub)
        write_codes<typename Kind::Levels, Kind::kSubSize>(
            x + sub * Kind::kSubSize, expand_half(fit.d) * static_cast<float>(fit.scales[sub]),
            codes + sub * Kind::kSubSize);
}

}  // namespace

void quantize_q3_k(const float* values, BlockQ3_K* blocks, std::int64_t n_blocks) {
    using Kind = Scaled<IntegerLevels<-4, 3>, 16, -32, 31>;
    std::uint8_t codes[kSuper];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSuper;
        const ScaledFit<Kind> fit = fit_super_block<Kind>(x, {2.4F, 4.6F, 8, 2});
        write_super_codes(x, fit, codes);
        BlockQ3_K& block = blocks[b];
        std::memset(&block, 0, sizeof block);
        block.d = fit.d;
        for (int sub = 0; sub < Kind::kSubs; ++sub) {
            const int scale = fit.scales[sub] + 32;
            block.scales[sub % 8] |= static_cast<std::uint8_t>((scale & 15) << (sub / 8 * 4));
            block.scales[8 + sub % 4] |= static_cast<std::uint8_t>((scale >> 4) << (sub / 4 * 2));
        }
        for (int i = 0; i < kSuper; ++i) {
            block.qs[i / 128 * 32 + i % 32] |= static_cast<std::uint8_t>((codes[i] & 3) << (i / 32 % 4 * 2));
            block.hmask[i % 32] |= static_cast<std::uint8_t>((codes[i] >> 2) << (i / 32));
        }
    }
}

void quantize_q6_k(const float* values, BlockQ6_K* blocks, std::int64_t n_blocks) {
    using Kind = Scaled<IntegerLevels<-32, 31>, 16, -128, 127>;
    std::uint8_t codes[kSuper];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSuper;
        const ScaledFit<Kind> fit = fit_super_block<Kind>(x, {28.3F, 33.5F, 12, 2});
        write_super_codes(x, fit, codes);
        BlockQ6_K& block = blocks[b];
        std::memset(&block, 0, sizeof block);
        block.d = fit.d;
        for (int sub = 0; sub < Kind::kSubs; ++sub)
            block.scales[sub] = static_cast<std::int8_t>(fit.scales[sub]);
        for (int i = 0; i < kSuper; ++i) {
            const int half = i / 128;
            const int quarter = i / 32 % 4;
            block.ql[half * 64 + quarter % 2 * 32 + i % 32] |=
                static_cast<std::uint8_t>((codes[i] & 15) << (quarter / 2 * 4));
            block.qh[half * 32 + i % 32] |= static_cast<std::uint8_t>((codes[i] >> 4) << (quarter * 2));
        }
    }
}

void quantize_iq4_xs(const float* values, BlockIQ4_XS* blocks, std::int64_t n_blocks) {
    using Kind = Scaled<NonlinearLevels, 32, -32, 31>;
    std::uint8_t codes[kSuper];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSuper;
        const ScaledFit<Kind> fit = fit_super_block<Kind>(x, {95.0F, 135.0F, 6, 2});
        write_super_codes(x, fit, codes);
        BlockIQ4_XS& block = blocks[b];
        std::memset(&block, 0, sizeof block);
        block.d = fit.d;
        for (int sub = 0; sub < Kind::kSubs; ++sub) {
            const int scale = fit.scales[sub] + 32;
            block.scales_l[sub / 2] |= static_cast<std::uint8_t>((scale & 15) << (sub % 2 * 4));
            block.scales_h = static_cast<std::uint16_t>(block.scales_h | ((scale >> 4) << (sub * 2)));
        }
        for (int i = 0; i < kSuper; ++i)
            block.qs[i / 32 * 16 + i % 16] |= static_cast<std::uint8_t>(codes[i] << (i / 16 % 2 * 4));
    }
}

}  // namespace llmcore
