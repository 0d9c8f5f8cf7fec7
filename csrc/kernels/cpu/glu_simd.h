// Gated linear unit on any Vec.
#pragma once

#include "kernels/cpu/vector_math.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool glu_supports(const Shape*) { return true; }

template <Activation kActivation>
LLMCORE_INLINE Vec activate(Vec x) {
    if constexpr (kActivation == Activation::silu) return x * sigmoid(x);
    if constexpr (kActivation == Activation::gelu_tanh) {
        // 0.5 (1 + tanh u) = sigmoid(2u), which has no cancellation; u = sqrt(2 / pi) (x + 0.044715 x^3).
        const Vec inner = fma(x * x * x, Vec::set(0.044715f), x);
        return x * sigmoid(inner * Vec::set(1.59576912f));
    }
    if constexpr (kActivation == Activation::gelu_erf) {
        return Vec::set(0.5f) * x * (Vec::set(1.0f) + error_function(x * Vec::set(0.70710678f)));
    }
    if constexpr (kActivation == Activation::relu) return max(Vec::set(0), x);
    if constexpr (kActivation == Activation::tanh) return hyperbolic_tangent(x);
    if constexpr (kActivation == Activation::swiglu_clamped) {
        const Vec gate = min(Vec::set(7), x);
        return gate * sigmoid(gate * Vec::set(1.702f));
    }
    return x;
}

template <Activation kActivation>
LLMCORE_INLINE Vec linear_part(Vec up) {
    if constexpr (kActivation == Activation::swiglu_clamped)
        return min(Vec::set(7), max(Vec::set(-7), up)) + Vec::set(1);
    return up;
}

template <Activation kActivation>
void glu_row(const float* gate, const float* up, float* out, int64_t n) {
    int64_t i = 0;
    for (; i + Vec::kLanes <= n; i += Vec::kLanes) {
        const Vec activated = activate<kActivation>(Vec::load(gate + i));
        (up != nullptr ? activated * linear_part<kActivation>(Vec::load(up + i)) : activated).store(out + i);
    }
    if (i < n) {
        const Vec activated = activate<kActivation>(Vec::load_first(gate + i, n - i));
        (up != nullptr ? activated * linear_part<kActivation>(Vec::load_first(up + i, n - i)) : activated)
            .store_first(out + i, n - i);
    }
}

void glu_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const GluArgs& args = *static_cast<const GluArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* gate = args.gate + row * args.gate_stride;
        const float* up = args.up != nullptr ? args.up + row * args.up_stride : nullptr;
        float* out = args.out + row * args.out_stride;
        switch (args.activation) {
            case Activation::silu:
                glu_row<Activation::silu>(gate, up, out, args.n);
                break;
            case Activation::gelu_tanh:
                glu_row<Activation::gelu_tanh>(gate, up, out, args.n);
                break;
            case Activation::gelu_erf:
                glu_row<Activation::gelu_erf>(gate, up, out, args.n);
                break;
            case Activation::relu:
                glu_row<Activation::relu>(gate, up, out, args.n);
                break;
            case Activation::tanh:
                glu_row<Activation::tanh>(gate, up, out, args.n);
                break;
            case Activation::swiglu_clamped:
                glu_row<Activation::swiglu_clamped>(gate, up, out, args.n);
                break;
            case Activation::none:
                glu_row<Activation::none>(gate, up, out, args.n);
                break;
        }
    }
}

}  // namespace
}  // namespace llmcore
