// Rotary position embedding with angles, sines and cosines in double: the reference.
#include <math.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) {
    return 20 + static_cast<double>(shape->m) * static_cast<double>(shape->head_dim) *
                    (20 + static_cast<double>(shape->n_heads));
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const RopeArgs& args = *static_cast<const RopeArgs*>(base);
    const int64_t half = args.rope_dims / 2;
    const int64_t step = args.style == RopeStyle::adjacent ? 2 : 1;  // from pair to pair
    const int64_t partner =
        args.style == RopeStyle::adjacent ? 1 : half;  // from a pair's first to its second
    if (args.style == RopeStyle::none) return;
    for (int64_t row = row_begin; row < row_end; ++row) {
        float* x = args.x + row * args.x_stride;
        for (int64_t i = 0; i < half; ++i) {
            const double angle = static_cast<double>(args.positions[row]) * args.inv_freq[i];
            const double c = cos(angle) * args.magnitude;
            const double s = sin(angle) * args.magnitude;
            for (int64_t head = 0; head < args.n_heads; ++head) {
                float* pair = x + head * args.head_dim + i * step;
                const double x0 = pair[0];
                const double x1 = pair[partner];
                pair[0] = static_cast<float>(x0 * c - x1 * s);
                pair[partner] = static_cast<float>(x0 * s + x1 * c);
            }
        }
    }
}

}  // namespace

extern constinit const Kernel rope_f32_scalar = {
    .name = "rope_f32_scalar",
    .op = Op::rope,
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
