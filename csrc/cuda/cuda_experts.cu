// A mixture of experts: rows are sorted by expert on the device, so that an expert's weights are read once
// for all.
#include <string>

#include "base/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/gemv.h"
#include "cuda/kernels/rows.h"
#include "cuda/packed/repack.h"

namespace llmcore::cuda {

void CudaBackend::plan_routing(const MoeOp& op) {
    const BufferState& router = buffer(op.router);
    const auto most = static_cast<std::size_t>(router.rows * op.n_used);
    const auto n_experts = static_cast<std::size_t>(router.cols);
    const std::size_t words = 4 * most + n_experts + 2;
    if (routing_.bytes() < words * sizeof(std::int32_t))
        fill_device(grown(routing_, words * sizeof(std::int32_t)), 0, words * sizeof(std::int32_t), stream_);
    auto* parts = routing_.as<std::int32_t>();
    route_ = {.logits = router.data(),
              .logits_stride = router.cols,
              .rows = static_cast<std::int32_t>(router.live_rows),
              .n_experts = static_cast<std::int32_t>(router.cols),
              .n_used = static_cast<std::int32_t>(op.n_used),
              .normalized = op.normalized,
              .scale = op.scale,
              .experts = parts + 1,
              .weights = reinterpret_cast<float*>(parts + 1 + most),
              .slots = parts + 1 + 2 * most,
              .slot_rows = parts + 1 + 3 * most,
              .expert_begin = parts + 1 + 4 * most,
              .arrived = reinterpret_cast<std::uint32_t*>(parts)};
}

// Every slot's row of `input` (in the order of slots, or where source_rows says) times its expert's matrix.
void CudaBackend::run_expert_product(const MoeOp& op, const MatmulJob& job, Weight matrices,
                                     const float* input, std::int64_t input_cols,
                                     const std::int32_t* source_rows) {
    const WeightState& stack = weight(matrices);
    const std::int64_t n_slots = route_.rows * op.n_used;
    MatmulArgs args = {};
    args.jobs[0] = job;
    args.n_jobs = 1;
    args.m = static_cast<std::int32_t>(n_slots);
    args.k = static_cast<std::int32_t>(stack.cols);
    args.expert_begin = route_.expert_begin;
    args.n_experts = route_.n_experts;
    const std::int64_t padded = tiles_of(stack.cols, kTileCols) * kTileCols;
    if (stack.packing == Packing::f32) {
        args.expert_bytes = job.n * padded * static_cast<std::int64_t>(sizeof(float));
        if (source_rows != nullptr) {
            const std::size_t bytes =
                static_cast<std::size_t>(buffer(op.gated).rows * input_cols) * sizeof(float);
            auto* gathered = static_cast<float*>(grown(expert_inputs_, bytes));
            gather_rows(stream_, {.in = input,
                                  .in_stride = input_cols,
                                  .rows = source_rows,
                                  .added = nullptr,
                                  .out = gathered,
                                  .out_stride = input_cols,
                                  .m = args.m,
                                  .n = static_cast<std::int32_t>(input_cols)});
            input = gathered;
        }
        matmul_f32(stream_, args, input, input_cols);
        return;
    }
    if (job.n % kTileRows != 0)
        fail(ErrorCode::model, "cuda", "rows of an expert's matrix", std::to_string(job.n),
             "a multiple of 16");
    args.expert_bytes = packed_bytes(stack.packing, job.n, stack.cols);
    const std::size_t bytes =
        static_cast<std::size_t>(buffer(op.gated).rows * padded) * sizeof(std::uint16_t);
    auto* packed = static_cast<std::uint16_t*>(grown(expert_inputs_, bytes));
    pack_bf16_rows(stream_, {.x = input,
                             .x_stride = input_cols,
                             .norm_weight = nullptr,
                             .source_rows = source_rows,
                             .live_rows = nullptr,
                             .out = packed,
                             .m = args.m,
                             .k = args.k,
                             .norm_eps = 0.0F});
    matmul_bf16(stream_, limits_, stack.packing, args, packed);
}

void CudaBackend::run(const MoeOp& op) {
    BufferState& in = buffer(op.in);
    BufferState& gated = buffer(op.gated);
    BufferState& down_rows = buffer(op.down_rows);
    BufferState& out = buffer(op.out);
    if (in.normed_from) make_norm(in);
    plan_routing(op);
    route(stream_, route_);

    const std::int64_t n_experts = route_.n_experts;
    const WeightState& gate = weight(op.gate);
    MatmulJob job = {};
    job.weight = gate.data();
    job.up = weight(op.up).data();
    job.bias = floats_of(op.gate_bias);
    job.up_bias = floats_of(op.up_bias);
    job.out = gated.data();
    job.out_stride = static_cast<std::int32_t>(gated.cols);
    job.n = static_cast<std::int32_t>(gate.rows / n_experts);
    job.bias_stride = static_cast<std::int32_t>(tiles_of(job.n, kTileCols) * kTileCols);  // rows as packed
    job.activation = op.activation;
    if (weight(op.up).packing != gate.packing) {
        MatmulJob up = {};
        up.weight = job.up;
        up.out = static_cast<float*>(
            grown(up_sums_, static_cast<std::size_t>(gated.rows * gated.cols) * sizeof(float)));
        up.out_stride = job.out_stride;
        up.n = job.n;
        run_expert_product(op, up, op.up, in.data(), in.cols, route_.slot_rows);
        job.up = nullptr;
        job.up_sums = up.out;
    }
    run_expert_product(op, job, op.gate, in.data(), in.cols, route_.slot_rows);
    written(gated, route_.rows * op.n_used);

    MatmulJob down = {};
    down.weight = weight(op.down).data();
    down.bias = floats_of(op.down_bias);
    down.out = down_rows.data();
    down.out_stride = static_cast<std::int32_t>(down_rows.cols);
    down.n = static_cast<std::int32_t>(weight(op.down).rows / n_experts);
    down.bias_stride = static_cast<std::int32_t>(tiles_of(down.n, kTileCols) * kTileCols);
    run_expert_product(op, down, op.down, gated.data(), gated.cols, nullptr);
    written(down_rows, route_.rows * op.n_used);

    combine_experts(stream_, {.down_rows = down_rows.data(),
                              .down_stride = down_rows.cols,
                              .weights = route_.weights,
                              .slots = route_.slots,
                              .residual = data_of(op.residual),
                              .out = out.data(),
                              .out_stride = out.cols,
                              .rows = route_.rows,
                              .n_used = route_.n_used,
                              .width = static_cast<std::int32_t>(out.cols)});
    written(out, in.live_rows);
}

}  // namespace llmcore::cuda
