// The reference product: a block of weights expanded at a time, sums in double. Slow and right.
#pragma once

#include "kernels/kernel.h"
#include "quant/block_expand.h"

namespace llmcore {
namespace {

template <typename Expander>
bool reference_supports(const Shape* shape) {
    return shape->k % Expander::kElements == 0;
}

inline double reference_cost(const Shape* shape) {
    return 1.5 * static_cast<double>(shape->m) * static_cast<double>(shape->n) *
           static_cast<double>(shape->k);
}

constexpr int64_t kReferenceTokens = 8;  // share the expansion of a block

// Four sums, so that additions need not wait for each other; their order is the same everywhere.
inline double reference_dot(const float* a, const float* b, int64_t n) {
    double sums[4] = {};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int lane = 0; lane < 4; ++lane)
            sums[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
    for (; i < n; ++i) sums[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// One row against tokens [token, token + n_tokens), n_tokens <= kReferenceTokens.
template <typename Expander>
void reference_row(const LinearArgs& linear, int64_t row, int64_t token, int64_t n_tokens) {
    using Block = typename Expander::Block;
    constexpr int64_t kElements = Expander::kElements;
    constexpr int64_t kStep = kElements > 1 ? kElements : 32;
    const auto* weights = reinterpret_cast<const Block*>(static_cast<const uint8_t*>(linear.weight) +
                                                         row * linear.weight_row_bytes);
    const uint8_t* act = static_cast<const uint8_t*>(linear.act) + token * linear.act_row_bytes;
    double sums[kReferenceTokens] = {};
    for (int64_t i = 0; i < linear.k; i += kStep) {
        const int64_t n = linear.k - i < kStep ? linear.k - i : kStep;
        float expanded[kStep];
        for (int64_t j = 0; j < n; j += kElements)
            Expander::expand(weights[(i + j) / kElements], expanded + j);
        for (int64_t t = 0; t < n_tokens; ++t)
            sums[t] += reference_dot(expanded,
                                     reinterpret_cast<const float*>(act + t * linear.act_row_bytes) + i, n);
    }
    float* out = linear.out + token * linear.out_stride + row - linear.out_offset;
    for (int64_t t = 0; t < n_tokens; ++t) out[t * linear.out_stride] = static_cast<float>(sums[t]);
}

template <typename Expander>
void reference_run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const LinearArgs& linear = *static_cast<const LinearArgs*>(args);
    for (int64_t row = row_begin; row < row_end; ++row)
        for (int64_t token = 0; token < linear.m; token += kReferenceTokens) {
            const int64_t rest = linear.m - token;
            reference_row<Expander>(linear, row, token, rest < kReferenceTokens ? rest : kReferenceTokens);
        }
}

template <typename Expander>
constexpr Kernel reference_linear(const char* name) {
    return {.name = name,
            .op = Op::linear,
            .weight_format = Expander::kFormat,
            .weight_layout = Layout::gguf,
            .act_layout = Layout::f32,
            .out_layout = Layout::f32,
            .isa = Isa::scalar,
            .supports = reference_supports<Expander>,
            .cost = reference_cost,
            .workspace_bytes = nullptr,
            .run = reference_run<Expander>};
}

}  // namespace
}  // namespace llmcore
