// Sums of exponentials of a row's blocks, in loops that a compiler vectorizes for any machine.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/exp_nonpositive.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int64_t kLanes = 16;  // independent sums

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) { return 20 + 1.5 * static_cast<double>(shape->n); }

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
