// Gated linear unit (Shazeer 2020) in double: the reference.
#include <math.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape*) { return true; }

double cost(const Shape* shape) {
    return 20 + static_cast<double>(shape->m) * (10 + 10.0 * static_cast<double>(shape->n));
}

double activate(Activation activation, double x) {
    constexpr double kSqrt2OverPi = 0.79788456080286535588;
    constexpr double kSqrtHalf = 0.70710678118654752440;
    switch (activation) {
        case Activation::silu:
            return x / (1 + exp(-x));
        case Activation::gelu_tanh:
            return 0.5 * x * (1 + tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
        case Activation::gelu_erf:
            return 0.5 * x * (1 + erf(x * kSqrtHalf));
        case Activation::relu:
            return x > 0 ? x : 0;
        case Activation::tanh:
            return tanh(x);
        case Activation::swiglu_clamped:
            x = x < 7 ? x : 7;
            return x / (1 + exp(-1.702 * x));
        case Activation::none:
            break;
    }
    return x;
}

double linear_part(Activation activation, double up) {
    if (activation != Activation::swiglu_clamped) return up;
    return (up < -7 ? -7 : up < 7 ? up : 7) + 1;
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const GluArgs& args = *static_cast<const GluArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* gate = args.gate + row * args.gate_stride;
        const float* up = args.up != nullptr ? args.up + row * args.up_stride : nullptr;
        float* out = args.out + row * args.out_stride;
        for (int64_t i = 0; i < args.n; ++i) {
            const double activated = activate(args.activation, gate[i]);
            out[i] = static_cast<float>(up != nullptr ? activated * linear_part(args.activation, up[i])
                                                      : activated);
        }
    }
}

}  // namespace

extern constinit const Kernel glu_f32_scalar = {
    .name = "glu_f32_scalar",
    .op = Op::glu,
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
