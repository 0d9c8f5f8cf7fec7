// Linear layers on the CPU: activations packed once, kernels chosen by shape, rows cut into chunks for all
// threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "backend/cpu_backend.h"
#include "base/ceil_div.h"
#include "base/error.h"
#include "kernels/registry.h"

namespace llmcore {

namespace {

constexpr std::int64_t kRowGroup = 32;  // rows that the kernels take at a time
constexpr std::int64_t kMostChunkRows = 256;
constexpr std::int64_t kMostTileChunkRows = 512;

void add_vector(float* rows, std::int64_t m, std::int64_t width, const float* values) {
    if (values == nullptr) return;
    for (std::int64_t row = 0; row < m; ++row)
        for (std::int64_t i = 0; i < width; ++i) rows[row * width + i] += values[i];
}

void scale(float* values, std::int64_t count, float factor) {
    for (std::int64_t i = 0; i < count; ++i) values[i] *= factor;
}

GluArgs glu_args(float* gate, const float* up, std::int64_t width, Activation activation) {
    GluArgs args;
    args.gate = gate;
    args.gate_stride = width;
    args.up = up;
    args.up_stride = width;
    args.out = gate;
    args.out_stride = width;
    args.n = width;
    args.activation = activation;
    return args;
}

}  // namespace

const Kernel& CpuBackend::linear_kernel(WeightState& weight, std::int64_t m, std::int64_t n, bool gathered) {
    const std::size_t index = row_class(m);
    if (weight.kernels.size() <= index) weight.kernels.resize(index + 1, nullptr);
    const Kernel*& kernel = weight.kernels[index];
    if (kernel == nullptr) {
        const Shape shape = {.m = class_rows(index), .n = n, .k = weight.cols, .gathered = gathered};
        kernel = &selector_.select(Op::linear, weight.format, Layout::gguf, Layout::f32, shape);
        ledger_.note(Op::linear, weight.format, Layout::f32, shape);
    }
    return *kernel;
}

const CpuBackend::PackedForm& CpuBackend::packed_form(BufferState& input, Layout layout) {
    auto form = std::find_if(input.packed.begin(), input.packed.end(),
                             [&](const PackedForm& candidate) { return candidate.layout == layout; });
    if (form == input.packed.end()) {
        PackedForm made;
        made.layout = layout;
        if (layout == Layout::f32) {
            made.row_bytes = input.cols * static_cast<std::int64_t>(sizeof(float));
        } else {
            made.row_bytes = packed_row_bytes(layout, input.cols);
            made.bytes = PageBuffer(static_cast<std::size_t>(packed_bytes(layout, input.rows, input.cols)));
        }
        input.packed.push_back(std::move(made));
        form = input.packed.end() - 1;
    }
    if (!form->valid && layout != Layout::f32) {
        PackArgs args;
        args.x = input.data();
        args.x_stride = input.cols;
        args.out = form->bytes.data();
        args.out_row_bytes = form->row_bytes;
        args.k = input.cols;
        const Shape shape = {.m = input.live_rows, .k = input.cols};
        const Kernel& kernel = small_kernel(Op::pack, Format::none, shape, layout);
        const std::int64_t chunk = std::max<std::int64_t>(8, packed_row_group(layout));
        pool_.parallel_for(input.live_rows, chunk, [&](std::int64_t begin, std::int64_t end, int worker) {
            run(kernel, shape, args, begin, end, worker);
        });
    }
    form->valid = true;
    return *form;
}

const std::byte* CpuBackend::packed_rows(const BufferState& input, const PackedForm& form) {
    return form.layout == Layout::f32 ? input.memory.data() : form.bytes.data();
}

void CpuBackend::cut(LinearJob& job) const {
    // A few chunks a thread so that a slow thread is not waited for, but long enough to stream; fewer and
    // longer where each chunk has to bring all activations from a far cache.
    const bool tiles = job.kernel->act_layout == Layout::bf16_x32;
    const std::int64_t wanted = ceil_div(job.args.n, (tiles ? 4 : 8) * pool_.size());
    job.chunk_rows = std::clamp<std::int64_t>(ceil_div(wanted, kRowGroup) * kRowGroup, kRowGroup,
                                              tiles ? kMostTileChunkRows : kMostChunkRows);
    job.n_chunks = ceil_div(job.args.n, job.chunk_rows);
}

CpuBackend::LinearJob CpuBackend::plan_linear(const LinearOp& op) {
    BufferState& in = buffer(op.in);
    BufferState& out = buffer(op.out);
    const std::int64_t m = in.live_rows;
    LinearJob job;
    const auto bind = [&](Weight handle, const Kernel*& kernel, LinearArgs& args) {
        WeightState& matrix = weight(handle);
        kernel = &linear_kernel(matrix, m, matrix.rows, false);
        const PackedForm& act = packed_form(in, kernel->act_layout);
        args.weight = matrix.bytes;
        args.weight_row_bytes = matrix.row_bytes;
        args.act = packed_rows(in, act);
        args.act_row_bytes = act.row_bytes;
        args.out = out.data();
        args.out_stride = out.cols;
        args.out_offset = 0;
        args.m = m;
        args.n = matrix.rows;
        args.k = matrix.cols;
    };
    bind(op.weight, job.kernel, job.args);
    if (op.up) bind(op.up, job.up_kernel, job.up_args);
    if (op.bias) job.bias = weight(op.bias).floats();
    if (op.up_bias) job.up_bias = weight(op.up_bias).floats();
    if (op.residual) job.residual = buffer(op.residual).data();
    if (op.gate) job.gate = buffer(op.gate).data();
    job.softcap = op.softcap;
    job.activation = op.softcap > 0.0F ? Activation::tanh : op.activation;
    cut(job);
    return job;
}

void CpuBackend::run_linear_rows(const LinearJob& job, std::int64_t begin, std::int64_t end, int worker) {
    if (!job.has_epilogue()) {
        run(*job.kernel, job.shape(), job.args, begin, end, worker);
        return;
    }
    // The products of this chunk go to scratch first, so that the result is written once, complete.
    const std::int64_t width = end - begin;
    const std::int64_t m = job.args.m;
    const std::int64_t count = m * width;
    const std::size_t floats = (job.is_changed() ? 3 : 2) * static_cast<std::size_t>(count);
    auto* values =
        reinterpret_cast<float*>(grown(scratches_[static_cast<std::size_t>(worker)], floats * sizeof(float)));
    float* ups = values + count;
    const auto product = [&](const Kernel& kernel, LinearArgs args, const std::vector<RowChange>& changes,
                             const float* bias, float* out) {
        args.out = out;
        args.out_stride = width;
        args.out_offset = begin;
        run(kernel, job.shape(), args, begin, end, worker);
        for (const RowChange& change : changes) add_change(change, begin, end, out, ups + count, worker);
        add_vector(out, m, width, bias == nullptr ? nullptr : bias + begin);
    };
    product(*job.kernel, job.args, job.changes, job.bias, values);
    if (job.up_kernel != nullptr) product(*job.up_kernel, job.up_args, job.up_changes, job.up_bias, ups);
    if (job.activation != Activation::none || job.up_kernel != nullptr) {
        if (job.softcap > 0.0F) scale(values, count, 1.0F / job.softcap);
        const Kernel& kernel = *job.glu;
        run(kernel, {.m = m, .n = width},
            glu_args(values, job.up_kernel == nullptr ? nullptr : ups, width, job.activation), 0, m, worker);
        if (job.softcap > 0.0F) scale(values, count, job.softcap);
    }
    for (std::int64_t row = 0; row < m; ++row) {
        float* out = job.args.out + row * job.args.out_stride + begin;
        float* result = values + row * width;
        if (job.gate != nullptr) scale(result, width, 1.0F / (1.0F + std::exp(-job.gate[row])));
        if (job.residual != nullptr) {
            const float* residual = job.residual + row * job.args.out_stride + begin;
            for (std::int64_t i = 0; i < width; ++i) out[i] = residual[i] + result[i];
        } else {
            std::memcpy(out, result, static_cast<std::size_t>(width) * sizeof(float));
        }
    }
}

void CpuBackend::run_jobs(std::vector<LinearJob>& jobs) {
    std::int64_t total = 0;
    std::int64_t work = 0;
    for (LinearJob& job : jobs) {
        // Chosen here: the pool's threads must not change what the backend remembers.
        if (job.activation != Activation::none || job.up_kernel != nullptr)
            job.glu = &small_kernel(Op::glu, Format::none, {.m = job.args.m, .n = job.args.n});
        job.first_chunk = total;
        total += job.n_chunks;
        work += job.args.m * job.args.n * job.args.k;
    }
    const std::int64_t chunks_at_once = work < kInlineWork ? total : 1;
    pool_.parallel_for(total, chunks_at_once, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t index = begin; index < end; ++index) {
            const auto after = std::upper_bound(
                jobs.begin(), jobs.end(), index,
                [](std::int64_t chunk, const LinearJob& job) { return chunk < job.first_chunk; });
            const LinearJob& job = *(after - 1);
            const std::int64_t first = (index - job.first_chunk) * job.chunk_rows;
            run_linear_rows(job, first, std::min(job.args.n, first + job.chunk_rows), worker);
        }
    });
}

void CpuBackend::linear(std::span<const LinearOp> ops) {
    std::vector<LinearJob> jobs;
    jobs.reserve(ops.size());
    for (const LinearOp& op : ops)
        if (buffer(op.in).live_rows > 0) jobs.push_back(plan_linear(op));  // no logits wanted: no head
    if (!adapted_.empty() && !jobs.empty()) plan_changes(ops, jobs);
    run_jobs(jobs);
    for (const LinearOp& op : ops) buffer(op.out).written(buffer(op.in).live_rows);
}

}  // namespace llmcore
