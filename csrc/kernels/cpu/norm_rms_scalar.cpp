// RMSNorm in double: the reference.
#include <math.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) {
    return 20 + static_cast<double>(shape->m) * (20 + 2.0 * static_cast<double>(shape->n));
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const NormArgs& args = *static_cast<const NormArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* x = args.x + row * args.x_stride;
        float* out = args.out + row * args.out_stride;
        double squares = 0;
        for (int64_t i = 0; i < args.n; ++i) squares += static_cast<double>(x[i]) * x[i];
        const double mean = squares / static_cast<double>(args.n) + args.eps;
        const double factor = mean == 0 ? 0 : 1 / sqrt(mean);
        const float* residual = args.residual != nullptr ? args.residual + row * args.out_stride : nullptr;
        for (int64_t i = 0; i < args.n; ++i) {
            const double scaled = x[i] * factor * args.weight[i];
            out[i] = static_cast<float>(residual != nullptr ? scaled + residual[i] : scaled);
        }
    }
}

}  // namespace

extern constinit const Kernel norm_rms_scalar = {
    .name = "norm_rms_scalar",
    .op = Op::norm,
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
