// Products of packed weights (frag16.h) with activations: the arguments that all matrix kernels share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/packed/packed.h"
#include "kernels/kernel.h"

namespace llmcore::cuda {

// out = gate(activation(in W^T + bias) * (in U^T + up_bias)) + residual, as backend.h's LinearOp. POD.
struct MatmulJob {
    const unsigned char* weight;
    const unsigned char* up;  // null, or packed as weight is
    const float* bias;        // null, or [n]
    const float* up_bias;     // null, or [n]
    const float* up_sums;  // null, or in U^T where it was computed before (up is null then), out_stride apart
    const float* residual;  // null, or rows out_stride apart; may be out
    const float* gate;      // null, or one logit a row
    float* out;
    // Null, or where the results go instead of `out`, as the input of the next matmul_bf16: rows of n values,
    // n a multiple of kTileCols.
    uint16_t* packed_out;
    int32_t out_stride;
    int32_t bias_stride;  // floats between the biases of two experts
    int32_t n;            // weight rows
    Activation activation;
    float softcap;  // above 0: values become softcap * tanh(value / softcap)
};

constexpr int kMostJobs = 4;

// Jobs that read the same input and have the same packed format and k.
struct MatmulArgs {
    MatmulJob jobs[kMostJobs];
    int32_t n_jobs;
    int32_t m;  // rows of the input
    int32_t k;  // columns, before padding
    // A mixture of experts: jobs[0]'s weights are n_experts matrices of n rows, each padded to whole tiles
    // and expert_bytes after the one before; biases are n apart. Expert e has the rows [expert_begin[e],
    // expert_begin[e + 1]) of input and output. Null: one matrix for all rows.
    const int32_t* expert_begin;
    int32_t n_experts;
    int64_t expert_bytes;
    // Null, or matmul_workspace_bytes() that products one after another share, filled with 0 before the
    // first: lets blocks share a tile.
    void* workspace;
};

std::size_t matmul_workspace_bytes(const DeviceLimits& limits);

// For more than a few rows: bf16 weights and activations, tensor cores, fp32 sums. `input` is
// [m][tiles_of(k, 256) * 256] bf16 bits in the order of permuted_column(), zero beyond k. Any Layout but F32.
void matmul_bf16(const Stream& stream, const DeviceLimits& limits, Packing packing, const MatmulArgs& args,
                 const uint16_t* input);

// One value with its epilogue. `row`: of the input; `column`: weight row.
SIMT_DEVICE float activate(Activation activation, float gate, float up, bool has_up) {
    float value = gate;
    switch (activation) {
        case Activation::none:
            break;
        case Activation::silu:
            value = gate / (1.0F + expf(-gate));
            break;
        case Activation::gelu_tanh:
            value = 0.5F * gate * (1.0F + tanhf(0.7978845608F * (gate + 0.044715F * gate * gate * gate)));
            break;
        case Activation::gelu_erf:
            value = 0.5F * gate * (1.0F + erff(gate * 0.7071067812F));
            break;
        case Activation::relu:
            value = gate > 0.0F ? gate : 0.0F;
            break;
        case Activation::tanh:
            value = tanhf(gate);
            break;
        case Activation::swiglu_clamped: {
            const float g = fminf(gate, 7.0F);
            const float u = fminf(fmaxf(up, -7.0F), 7.0F);
            return g / (1.0F + expf(-1.702F * g)) * (u + 1.0F);
        }
    }
    return has_up ? value * up : value;
}

// The job's value for input row `row` and weight row `column` from its sums; bias_row: of the expert's
// biases.
SIMT_DEVICE float finish(const MatmulJob& job, int64_t row, int column, int64_t bias_offset, float sum,
                         float up_sum) {
    if (job.up_sums != nullptr) up_sum = job.up_sums[row * job.out_stride + column];
    if (job.bias != nullptr) sum += job.bias[bias_offset + column];
    if (job.up_bias != nullptr) up_sum += job.up_bias[bias_offset + column];
    if (job.softcap > 0.0F) {
        sum = job.softcap * tanhf(sum / job.softcap);
    } else {
        sum = activate(job.activation, sum, up_sum, job.up != nullptr || job.up_sums != nullptr);
    }
    if (job.gate != nullptr) sum *= 1.0F / (1.0F + expf(-job.gate[row]));
    if (job.residual != nullptr) sum += job.residual[row * job.out_stride + column];
    return sum;
}

SIMT_DEVICE void store_result(const MatmulJob& job, int64_t row, int column, float value) {
    if (job.packed_out != nullptr)
        job.packed_out[row * job.n + permuted_column(column)] = float_to_bf16(value);
    else
        job.out[row * job.out_stride + column] = value;
}

}  // namespace llmcore::cuda
