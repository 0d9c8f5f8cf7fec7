// Sums of exponentials of a row's blocks, in loops that a compiler vectorizes for any machine.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int64_t kLanes = 16;  // independent sums

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) { return 20 + 1.5 * static_cast<double>(shape->n); }

// e^x for x <= 0, relative error below 3e-7; 0 where the result would be subnormal. Cody and Waite's
// reduction to |r| <= ln(2)/2, then the Taylor polynomial. Branch-free.
inline float exp_nonpositive(float x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    constexpr int32_t kRoundBits = 0x4B400000;
    constexpr uint32_t kLowest = 0xC2C80000;  // -100
    // max(x, -100) on the bits, whose order is that of the magnitude: a choice between floats is not
    // vectorized, since comparing may trap.
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bits < kLowest ? bits : kLowest;
    float clamped;
    memcpy(&clamped, &bits, sizeof clamped);
    const float shifted = clamped * 1.44269504f + kRound;
    const float n = shifted - kRound;
    const float r = clamped - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t exponent;
    memcpy(&exponent, &shifted, sizeof exponent);
    exponent += 127 - kRoundBits;
    exponent = (exponent > 0 ? exponent : 0) << 23;
    float power;
    memcpy(&power, &exponent, sizeof power);
    return p * power;
}

float block_exp_sum(const float* x, int64_t n, float max, float scale) {
    float sum = 0;
    if (n < kRowBlock) {
        for (int64_t i = 0; i < n; ++i) sum += exp_nonpositive((x[i] - max) * scale);
        return sum;
    }
    float weights[kRowBlock];
    for (int64_t i = 0; i < kRowBlock; ++i) weights[i] = exp_nonpositive((x[i] - max) * scale);
    float lanes[kLanes] = {};
    for (int64_t i = 0; i < kRowBlock; i += kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += weights[i + lane];
    for (const float lane : lanes) sum += lane;
    return sum;
}

float block_exp_sum_from(const float* x, int64_t n, float max, float scale, float least) {
    float sum = 0;
    for (int64_t i = 0; i < n; ++i)
        if (x[i] >= least) sum += exp_nonpositive((x[i] - max) * scale);
    return sum;
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const RowBlocksArgs& args = *static_cast<const RowBlocksArgs*>(base);
    for (int64_t block = row_begin; block < row_end; ++block) {
        const int64_t begin = block * kRowBlock;
        const int64_t n = begin + kRowBlock < args.n ? kRowBlock : args.n - begin;
        const float* x = args.x + begin;
        if (args.least == -HUGE_VALF) {
            args.out[block] = block_exp_sum(x, n, args.max, args.scale);
        } else if (args.block_max != nullptr && args.block_max[block] < args.least) {
            args.out[block] = 0;
        } else {
            args.out[block] = block_exp_sum_from(x, n, args.max, args.scale, args.least);
        }
    }
}

}  // namespace

extern constinit const Kernel exp_sum_f32_scalar = {
    .name = "exp_sum_f32_scalar",
    .op = Op::exp_sum,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::f32,
    .isa = Isa::scalar,
    .supports = supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
