// float32 weights: a warp a weight row.
#include "cuda/kernels/gemv.h"

namespace llmcore::cuda {

namespace {

constexpr int kWarps = 8;

struct F32Args {
    MatmulArgs matmul;
    const float* input;
    int64_t input_stride;
};

SIMT_DEVICE float dot(const float* weight, const float* x, int k, int lane) {
    float sum = 0.0F;
    for (int c = lane; c < k; c += kWarp) sum = fmaf(weight[c], x[c], sum);
    return sum;
}

SIMT_DEVICE float warp_sum(float value) {
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
    return value;
}

SIMT_GLOBAL void SIMT_BOUNDS(kWarps* kWarp, 1) matmul_f32_kernel(const F32Args args) {
    next_kernel_may_start();
    previous_kernels_done();
    const MatmulArgs& m = args.matmul;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int column = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
    const bool experts = m.expert_begin != nullptr;
    const int expert = experts ? static_cast<int>(blockIdx.y) : 0;
    const MatmulJob& job = m.jobs[experts ? 0 : blockIdx.y];
    if (column >= job.n) return;
    const int begin = experts ? m.expert_begin[expert] : 0;
    const int end = experts ? m.expert_begin[expert + 1] : m.m;
    const int64_t padded = tiles_of(m.k, kTileCols) * kTileCols;
    const auto* weight =
        reinterpret_cast<const float*>(job.weight + expert * m.expert_bytes) + column * padded;
    const auto* up = job.up == nullptr
                         ? nullptr
                         : reinterpret_cast<const float*>(job.up + expert * m.expert_bytes) + column * padded;
    const int64_t bias_offset = static_cast<int64_t>(expert) * job.bias_stride;
    for (int row = begin; row < end; ++row) {
        const float* x = args.input + row * args.input_stride;
        const float sum = warp_sum(dot(weight, x, m.k, lane));
        const float up_sum = up == nullptr ? 0.0F : warp_sum(dot(up, x, m.k, lane));
        if (lane == 0)
            job.out[static_cast<int64_t>(row) * job.out_stride + column] =
                finish(job, row, column, bias_offset, sum, up_sum);
    }
}

}  // namespace

void matmul_f32(const Stream& stream, const MatmulArgs& args, const float* input, int64_t input_stride) {
    if (args.m == 0) return;
    int most = 0;
    for (int job = 0; job < args.n_jobs; ++job) most = args.jobs[job].n > most ? args.jobs[job].n : most;
    const LaunchShape shape = {
        .grid_x = static_cast<unsigned>((most + kWarps - 1) / kWarps),
        .grid_y = static_cast<unsigned>(args.expert_begin != nullptr ? args.n_experts : args.n_jobs),
        .threads = kWarps * kWarp};
    launch(stream, matmul_f32_kernel, shape, F32Args{args, input, input_stride});
}

}  // namespace llmcore::cuda
