// LayerNorm in double: the reference.
#include <math.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) {
    return 20 + static_cast<double>(shape->m) * (20 + 3.0 * static_cast<double>(shape->n));
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const LayerNormArgs& args = *static_cast<const LayerNormArgs*>(base);
    const auto n = static_cast<double>(args.n);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* x = args.x + row * args.x_stride;
        float* out = args.out + row * args.out_stride;
        double mean = 0;
        for (int64_t i = 0; i < args.n; ++i) mean += x[i];
        mean /= n;
        double squares = 0;
        for (int64_t i = 0; i < args.n; ++i) squares += (x[i] - mean) * (x[i] - mean);
        const double spread = squares / n + args.eps;
        const double factor = spread == 0 ? 0 : 1 / sqrt(spread);
        for (int64_t i = 0; i < args.n; ++i) {
            const double scaled = (x[i] - mean) * factor * args.weight[i];
            out[i] = static_cast<float>(args.bias != nullptr ? scaled + args.bias[i] : scaled);
        }
    }
}

}  // namespace

extern constinit const Kernel layer_norm_f32_scalar = {
    .name = "layer_norm_f32_scalar",
    .op = Op::layer_norm,
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
