// Largest values of a row's blocks, in loops that a compiler vectorizes for any machine.
#include <math.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int64_t kLanes = 16;  // independent maxima

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) { return 20 + 0.4 * static_cast<double>(shape->n); }

float block_max(const float* x, int64_t n) {
    float largest[kLanes];
    int32_t unsound[kLanes] = {};
    for (float& value : largest) value = -HUGE_VALF;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
            const float value = x[i + lane];
            largest[lane] = value > largest[lane] ? value : largest[lane];
            unsound[lane] |= value < HUGE_VALF ? 0 : 1;
        }
    }
    for (; i < n; ++i) {
        largest[0] = x[i] > largest[0] ? x[i] : largest[0];
        unsound[0] |= x[i] < HUGE_VALF ? 0 : 1;
    }
    for (int64_t lane = 1; lane < kLanes; ++lane) {
        largest[0] = largest[lane] > largest[0] ? largest[lane] : largest[0];
        unsound[0] |= unsound[lane];
    }
    return unsound[0] == 0 ? largest[0] : NAN;
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const RowBlocksArgs& args = *static_cast<const RowBlocksArgs*>(base);
    for (int64_t block = row_begin; block < row_end; ++block) {
        const int64_t begin = block * kRowBlock;
        const int64_t end = begin + kRowBlock < args.n ? begin + kRowBlock : args.n;
        args.out[block] = block_max(args.x + begin, end - begin);
    }
}

}  // namespace

extern constinit const Kernel row_max_f32_scalar = {
    .name = "row_max_f32_scalar",
    .op = Op::row_max,
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
