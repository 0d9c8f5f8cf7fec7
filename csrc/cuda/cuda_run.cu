// How a step's operations become launches.
#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/attention.h"
#include "cuda/kernels/embed.h"
#include "cuda/kernels/gemv.h"
#include "cuda/kernels/rope_store.h"
#include "cuda/kernels/rows.h"
#include "cuda/stream.h"

namespace llmcore::cuda {

namespace {

std::size_t bf16_bytes(std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>(rows * tiles_of(cols, kTileCols) * kTileCols) * sizeof(std::uint16_t);
}

}  // namespace

// Grows outside of graphs only, because the first run of every step is not captured; those there are hold the
// old address.
void* CudaBackend::grown(DeviceMemory& memory, std::size_t bytes) {
    if (memory.bytes() < bytes) {
        for (auto& [key, graph] : graphs_) {
            destroy_graph(graph.executable);
            graph.executable = nullptr;
        }
        programs_.clear();
        memory = DeviceMemory();
        memory = DeviceMemory(bytes);
    }
    return memory.as<void>();
}

void CudaBackend::run_operations() {
    if (const StepProgram* program = recorder_ == nullptr ? program_of_step() : nullptr) {
        run_program_of(*program);
        return;
    }
    for (BufferState& state : buffers_) state.normed_from = {};
    for (std::size_t index = 0; index < operations_.size(); ++index) {
        const Operation& operation = operations_[index];
        if (recorder_ != nullptr && std::holds_alternative<MoeOp>(operation)) recorder_->refuse();
        if (recorder_ != nullptr && std::holds_alternative<EmbedOp>(operation)) recorder_->refuse();
        if (recorder_ != nullptr && recorder_->is_refused()) return;
        std::visit(
            [&](const auto& op) {
                using Op = std::decay_t<decltype(op)>;
                if constexpr (std::is_same_v<Op, NormOp> || std::is_same_v<Op, LinearGroup>)
                    run(op, index);
                else
                    run(op);
            },
            operation);
    }
}

void CudaBackend::written(BufferState& state, std::int64_t rows) {
    state.live_rows = rows;
    state.q8_valid = false;
    state.bf16_valid = false;
    state.normed_from = {};
}

void CudaBackend::run(const EmbedOp& op) {
    const WeightState& table = weight(op.table);
    BufferState& out = buffer(op.out);
    embed_rows(stream_, table.packing, table.data(), table.rows, table.cols, step_.tokens, key_.n_rows,
               op.scale, out.data(), out.cols);
    written(out, key_.n_rows);
}

void CudaBackend::normalize(const NormRowsArgs& args) {
    if (recorder_ != nullptr)
        recorder_->norm(args);
    else
        norm_rows(stream_, args);
}

void CudaBackend::make_norm(BufferState& state) {
    const BufferState& in = buffer(state.normed_from);
    normalize({.x = in.data(),
               .x_stride = in.cols,
               .weight = floats_of(state.norm_weight),
               .residual = nullptr,
               .out = state.data(),
               .out_stride = state.cols,
               .m = static_cast<std::int32_t>(state.live_rows),
               .n = static_cast<std::int32_t>(in.cols),
               .eps = state.norm_eps});
    state.normed_from = {};
}

void CudaBackend::run(const NormOp& op, std::size_t index) {
    const std::int64_t rows = buffer(op.in).live_rows;
    BufferState& out = buffer(op.out);
    if (readers_take_norm(op, index)) {
        written(out, rows);
        out.normed_from = op.in;
        out.norm_weight = op.weight;
        out.norm_eps = op.eps;
        return;
    }
    const BufferState& in = buffer(op.in);
    if (rows > 0)
        normalize({.x = in.data(),
                   .x_stride = in.cols,
                   .weight = floats_of(op.weight),
                   .residual = data_of(op.residual),
                   .out = out.data(),
                   .out_stride = out.cols,
                   .m = static_cast<std::int32_t>(rows),
                   .n = static_cast<std::int32_t>(in.cols),
                   .eps = op.eps});
    written(out, rows);
}

MatmulJob CudaBackend::job_of(const LinearOp& op) {
    const WeightState& matrix = weight(op.weight);
    const BufferState& out = buffer(op.out);
    return {.weight = matrix.data(),
            .up = op.up ? weight(op.up).data() : nullptr,
            .bias = floats_of(op.bias),
            .up_bias = floats_of(op.up_bias),
            .up_sums = nullptr,
            .residual = data_of(op.residual),
            .gate = data_of(op.gate),
            .out = out.data(),
            .packed_out = nullptr,
            .out_stride = static_cast<std::int32_t>(out.cols),
            .bias_stride = 0,
            .n = static_cast<std::int32_t>(matrix.rows),
            .activation = op.activation,
            .softcap = op.softcap};
}

const std::uint16_t* CudaBackend::bf16_form(BufferState& in) {
    auto* form = static_cast<std::uint16_t*>(grown(in.bf16, bf16_bytes(in.rows, in.cols)));
    if (in.bf16_valid) return form;
    const BufferState& source = in.normed_from ? buffer(in.normed_from) : in;
    pack_bf16_rows(stream_, {.x = source.data(),
                             .x_stride = source.cols,
                             .norm_weight = in.normed_from ? floats_of(in.norm_weight) : nullptr,
                             .source_rows = nullptr,
                             .live_rows = nullptr,
                             .out = form,
                             .m = static_cast<std::int32_t>(in.live_rows),
                             .k = static_cast<std::int32_t>(in.cols),
                             .norm_eps = in.norm_eps});
    in.bf16_valid = true;
    return form;
}

// The rows, or those whose norm they stand for.
PackInput CudaBackend::input_of(const BufferState& in) {
    const BufferState& source = in.normed_from ? buffer(in.normed_from) : in;
    return {.rows = source.data(),
            .stride = source.cols,
            .norm_weight = in.normed_from ? floats_of(in.norm_weight) : nullptr,
            .norm_eps = in.norm_eps,
            .k = static_cast<std::int32_t>(in.cols)};
}

void CudaBackend::multiply(BufferState& in, Packing packing, MatmulArgs args) {
    if (recorder_ != nullptr) {
        recorder_->products(packing, args, input_of(in));
        return;
    }
    if (packing == Packing::f32) {
        if (in.normed_from) make_norm(in);
        matmul_f32(stream_, args, in.data(), in.cols);
        return;
    }
    if (args.m > gemv_rows(limits_, packing, args.k)) {
        args.workspace = matmul_workspace_.as<void>();
        matmul_bf16(stream_, limits_, packing, args, bf16_form(in));
        return;
    }
    GemvArgs gemv_args = {.matmul = args, .input = input_of(in), .packed = nullptr};
    const bool packs_itself = args.m <= kFusedPackRows || packing == Packing::f16 || packing == Packing::bf16;
    if (!packs_itself) {
        auto* form = static_cast<unsigned char*>(
            grown(in.q8, static_cast<std::size_t>(kGemvRows * q8_row_bytes(in.cols))));
        if (!in.q8_valid) pack_q8_rows(stream_, gemv_args.input, args.m, form);
        in.q8_valid = true;
        gemv_args.packed = form;
    }
    gemv(stream_, limits_, packing, gemv_args);
}

// Gate and up of different formats: first the one, then the other with the epilogue.
void CudaBackend::run_unlike_pair(const LinearOp& op) {
    BufferState& in = buffer(op.in);
    const WeightState& up = weight(op.up);
    MatmulArgs args = {};
    args.m = static_cast<std::int32_t>(in.live_rows);
    args.k = static_cast<std::int32_t>(up.cols);
    args.n_jobs = 1;
    MatmulJob& job = args.jobs[0];
    const BufferState& out = buffer(op.out);
    job.weight = up.data();
    job.out =
        static_cast<float*>(grown(up_sums_, static_cast<std::size_t>(out.rows * out.cols) * sizeof(float)));
    job.out_stride = static_cast<std::int32_t>(out.cols);
    job.n = static_cast<std::int32_t>(up.rows);
    multiply(in, up.packing, args);
    const float* sums = job.out;
    job = job_of(op);
    job.up = nullptr;
    job.up_sums = sums;
    multiply(in, weight(op.weight).packing, args);
}

void CudaBackend::run(const LinearGroup& group, std::size_t index) {
    std::vector<bool> packed(group.ops.size(), false);
    std::vector<bool> done(group.ops.size(), false);
    for (std::size_t i = 0; i < group.ops.size(); ++i) {
        if (done[i]) continue;
        const LinearOp& first = group.ops[i];
        const WeightState& matrix = weight(first.weight);
        BufferState& in = buffer(first.in);
        if (in.live_rows == 0) continue;  // no logits wanted: no head
        if (first.up && weight(first.up).packing != matrix.packing) {
            run_unlike_pair(first);
            done[i] = true;
            continue;
        }
        MatmulArgs args = {};
        args.m = static_cast<std::int32_t>(in.live_rows);
        args.k = static_cast<std::int32_t>(matrix.cols);
        for (std::size_t j = i; j < group.ops.size() && args.n_jobs < kMostJobs; ++j) {
            const LinearOp& op = group.ops[j];
            const WeightState& other = weight(op.weight);
            if (done[j] || op.in.id != first.in.id || other.packing != matrix.packing ||
                other.cols != matrix.cols || static_cast<bool>(op.up) != static_cast<bool>(first.up) ||
                (op.up && weight(op.up).packing != other.packing))
                continue;
            MatmulJob& job = args.jobs[args.n_jobs++];
            job = job_of(op);
            if (writes_packed(op, index)) {
                BufferState& out = buffer(op.out);
                job.packed_out = static_cast<std::uint16_t*>(grown(out.bf16, bf16_bytes(out.rows, out.cols)));
                packed[j] = true;
            }
            done[j] = true;
        }
        multiply(in, matrix.packing, args);
    }
    for (std::size_t i = 0; i < group.ops.size(); ++i) {
        BufferState& out = buffer(group.ops[i].out);
        written(out, buffer(group.ops[i].in).live_rows);
        out.bf16_valid = packed[i];
    }
}

void CudaBackend::run(const RopeStoreOp& op) {
    BufferState& q = buffer(op.q);
    const BufferState& k = buffer(op.k);
    const BufferState& v = buffer(op.v);
    const RopeStoreArgs args = {.q = q.data(),
                                .k = k.data(),
                                .v = v.data(),
                                .q_stride = q.cols,
                                .k_stride = k.cols,
                                .v_stride = v.cols,
                                .step = step_,
                                .kv = kv_layer(op.layer),
                                .n_heads = static_cast<std::int32_t>(op.n_heads),
                                .style = op.style,
                                .rope_dims = static_cast<std::int32_t>(op.rope_dims),
                                .inv_freq = op.style == RopeStyle::none ? nullptr : floats_of(op.inv_freq),
                                .magnitude = op.magnitude,
                                .q_norm = floats_of(op.q_norm),
                                .k_norm = floats_of(op.k_norm),
                                .norm_eps = op.norm_eps};
    if (recorder_ != nullptr)
        recorder_->rope_store(args);
    else
        rope_store(stream_, args);
}

void CudaBackend::run(const AttentionOp& op) {
    const BufferState& q = buffer(op.q);
    BufferState& out = buffer(op.out);
    AttentionStepArgs args = {.q = q.data(),
                              .out = out.data(),
                              .q_stride = q.cols,
                              .out_stride = out.cols,
                              .step = step_,
                              .kv = kv_layer(op.layer),
                              .rows = key_.n_decode_rows == key_.n_rows ? nullptr : decode_rows_,
                              .tiles = nullptr,
                              .n_rows = key_.n_decode_rows,
                              .n_tiles = key_.n_tiles,
                              .n_heads = static_cast<std::int32_t>(op.n_heads),
                              .n_splits = key_.n_splits,
                              .multiprocessors = limits_.multiprocessors,
                              .scale = op.scale,
                              .softcap = op.softcap,
                              .window = static_cast<std::int32_t>(op.window),
                              .sinks = floats_of(op.sinks),
                              .causal = op.causal,
                              .workspace = nullptr};
    if (key_.n_decode_rows > 0) {
        if (key_.n_splits > 1) {
            const std::size_t bytes = attention_decode_workspace_bytes(key_.n_decode_rows, op.n_heads,
                                                                       kv_spec_.head_dim, key_.n_splits);
            if (attention_workspace_.bytes() < bytes)
                fill_device(grown(attention_workspace_, bytes), 0, bytes, stream_);
            args.workspace = attention_workspace_.as<void>();
        }
        if (recorder_ != nullptr)
            recorder_->attention(args);
        else
            attention_decode(stream_, args);
    }
    if (key_.n_tiles > 0) {
        args.tiles = static_cast<const int4*>(tiles_);
        attention_prefill(stream_, args);
    }
    written(out, q.live_rows);
}

void CudaBackend::run(const GatherOp& op) {
    const BufferState& in = buffer(op.in);
    BufferState& out = buffer(op.out);
    const GatherRowsArgs args = {.in = in.data(),
                                 .in_stride = in.cols,
                                 .rows = step_.logit_rows,
                                 .added = nullptr,
                                 .out = out.data(),
                                 .out_stride = out.cols,
                                 .m = key_.n_logit_rows,
                                 .n = static_cast<std::int32_t>(in.cols)};
    if (recorder_ != nullptr)
        recorder_->gather(args);
    else if (key_.n_logit_rows > 0)
        gather_rows(stream_, args);
    written(out, key_.n_logit_rows);
}

}  // namespace llmcore::cuda
