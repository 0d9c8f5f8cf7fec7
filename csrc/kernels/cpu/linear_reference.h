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
    return 2.0 * static_cast<double>(shape->m) * static_cast<double>(shape->n) * static_cast<double>(shape->k);
}

template <typename Expander>
void reference_run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const LinearArgs& linear = *static_cast<const LinearArgs*>(args);
    using Block = typename Expander::Block;
    constexpr int64_t kElements = Expander::kElements;
    float block[kElements];
    for (int64_t row = row_begin; row < row_end; ++row) {
        const auto* weights = reinterpret_cast<const Block*>(static_cast<const uint8_t*>(linear.weight) +
                                                             row * linear.weight_row_bytes);
        for (int64_t token = 0; token < linear.m; ++token) {
            const float* act = reinterpret_cast<const float*>(static_cast<const uint8_t*>(linear.act) +
                                                              token * linear.act_row_bytes);
            double sum = 0.0;
            for (int64_t i = 0; i < linear.k; i += kElements) {
                Expander::expand(weights[i / kElements], block);
                for (int64_t j = 0; j < kElements; ++j)
                    sum += static_cast<double>(block[j]) * static_cast<double>(act[i + j]);
            }
            linear.out[token * linear.out_stride + row - linear.out_offset] = static_cast<float>(sum);
        }
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
