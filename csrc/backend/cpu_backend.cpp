#include "backend/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/activation_layout.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

constexpr std::int64_t kBlockTokens = 32;
// Multiply-adds below which waking a thread costs more than it saves: about ten microseconds of one thread's
// work.
constexpr std::int64_t kInlineWork = 100'000;
constexpr std::int64_t kRowGroup = 32;  // rows that the kernels take at a time
constexpr std::size_t kCopyChunk = std::size_t{4} << 20;

std::int64_t packed_row_bytes(Layout layout, std::int64_t k) {
    if (layout == Layout::q8_32) return q8x32_layout(k).row_bytes;
    if (layout == Layout::q8_256) return q8x256_layout(k).row_bytes;
    fail(ErrorCode::internal, "cpu", std::string("no packed form ") + layout_name(layout));
}

// Kernels are remembered by the number of activation rows: one by one up to 64, then by powers of two.
std::size_t kernel_index(std::int64_t m) {
    std::size_t index = static_cast<std::size_t>(std::min<std::int64_t>(m, 64));
    for (std::int64_t above = m; above > 64; above /= 2) ++index;
    return index;
}

std::byte* grown(PageBuffer& memory, std::size_t bytes) {
    if (memory.size() < bytes) memory = PageBuffer(bytes);
    return memory.data();
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

CpuBackend::CpuBackend(KernelSelector selector, int threads)
    : selector_(std::move(selector)),
      pool_(threads),
      workspaces_(static_cast<std::size_t>(threads)),
      scratches_(static_cast<std::size_t>(threads)) {}

BackendInfo CpuBackend::info() const { return {"cpu", kBlockTokens, pool_.size()}; }

Buffer CpuBackend::alloc(std::int64_t rows, std::int64_t cols) {
    BufferState state;
    state.memory =
        PageBuffer(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * sizeof(float));
    state.rows = rows;
    state.cols = cols;
    buffers_.push_back(std::move(state));
    return {static_cast<std::int32_t>(buffers_.size()) - 1};
}

Weight CpuBackend::upload(const WeightView& view) {
    WeightState state;
    state.format = view.format;
    state.rows = view.rows;
    state.cols = view.cols;
    state.row_bytes = row_bytes(view.format, view.cols);
    const auto bytes = static_cast<std::size_t>(state.row_bytes * view.rows);
    state.memory = PageBuffer(bytes);
    const auto* source = static_cast<const std::byte*>(view.data);
    std::byte* target = state.memory.data();
    pool_.parallel_for(static_cast<std::int64_t>(bytes), kCopyChunk,
                       [&](std::int64_t begin, std::int64_t end, int) {
                           std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin));
                       });
    weights_.push_back(std::move(state));
    return {static_cast<std::int32_t>(weights_.size()) - 1};
}

void CpuBackend::alloc_kv(const KvSpec& spec) {
    kv_spec_ = spec;
    kv_layers_.clear();
    const std::int64_t head_bytes = kBlockTokens * row_bytes(spec.format, spec.head_dim);
    for (std::int64_t layer = 0; layer < spec.n_layers; ++layer)
        kv_layers_.emplace_back(static_cast<std::size_t>(spec.n_blocks * 2 * spec.n_kv_heads * head_bytes));
}

KvView CpuBackend::kv_view(std::int64_t layer) const {
    const std::int64_t head_bytes = kBlockTokens * row_bytes(kv_spec_.format, kv_spec_.head_dim);
    return {.base = kv_layers_[static_cast<std::size_t>(layer)].data(),
            .block_bytes = 2 * kv_spec_.n_kv_heads * head_bytes,
            .head_block_bytes = head_bytes,
            .block_tokens = kBlockTokens,
            .n_kv_heads = kv_spec_.n_kv_heads,
            .head_dim = kv_spec_.head_dim};
}

void CpuBackend::begin(const Batch& batch) {
    batch_ = batch;
    const std::size_t n_tokens = batch.tokens.size();
    slots_.resize(n_tokens);
    row_sequences_.resize(n_tokens);
    for (std::size_t s = 0; s + 1 < batch.row_starts.size(); ++s) {
        const std::int32_t* blocks =
            batch.block_table.data() + s * static_cast<std::size_t>(batch.block_table_stride);
        for (auto row = static_cast<std::size_t>(batch.row_starts[s]);
             row < static_cast<std::size_t>(batch.row_starts[s + 1]); ++row) {
            const std::int64_t position = batch.positions[row];
            slots_[row] = blocks[position / kBlockTokens] * kBlockTokens + position % kBlockTokens;
            row_sequences_[row] = static_cast<std::int32_t>(s);
        }
    }
}

void CpuBackend::embed(const EmbedOp& op) {
    BufferState& out = buffer(op.out);
    const WeightState& table = weight(op.table);
    const auto n = static_cast<std::int64_t>(batch_.tokens.size());
    pool_.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t token = batch_.tokens[static_cast<std::size_t>(row)];
            float* values = out.data() + row * out.cols;
            dequantize(table.format, table.memory.data() + token * table.row_bytes, values, table.cols);
            if (op.scale != 1.0F)
                for (std::int64_t i = 0; i < table.cols; ++i) values[i] *= op.scale;
        }
    });
    out.written(n);
}

const Kernel& CpuBackend::small_kernel(Op op, Format format, const Shape& shape, Layout out) {
    const Kernel*& kernel = small_kernels_[{op, format, out, shape.n, shape.k, shape.head_dim}];
    if (kernel == nullptr) kernel = &selector_.select(op, format, Layout::none, out, shape);
    return *kernel;
}

void CpuBackend::run(const Kernel& kernel, const Shape& shape, const Args& args, std::int64_t begin,
                     std::int64_t end, int worker) {
    const std::size_t bytes = kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(&shape);
    kernel.run(&args, begin, end,
               bytes == 0 ? nullptr : grown(workspaces_[static_cast<std::size_t>(worker)], bytes));
}

void CpuBackend::norm(const NormOp& op) {
    BufferState& in = buffer(op.in);
    BufferState& out = buffer(op.out);
    NormArgs args;
    args.x = in.data();
    args.x_stride = in.cols;
    args.weight = weight(op.weight).floats();
    args.out = out.data();
    args.out_stride = out.cols;
    args.n = in.cols;
    args.eps = op.eps;
    const Shape shape = {.m = in.live_rows, .n = in.cols};
    const Kernel& kernel = small_kernel(Op::norm, Format::none, shape);
    pool_.parallel_for(in.live_rows, 8, [&](std::int64_t begin, std::int64_t end, int worker) {
        run(kernel, shape, args, begin, end, worker);
    });
    out.written(in.live_rows);
}

void CpuBackend::rope_store(const RopeStoreOp& op) {
    BufferState& q = buffer(op.q);
    BufferState& k = buffer(op.k);
    BufferState& v = buffer(op.v);
    const std::int64_t head_dim = kv_spec_.head_dim;
    const std::int64_t rows = q.live_rows;

    RopeArgs rope_q;
    rope_q.x = q.data();
    rope_q.x_stride = q.cols;
    rope_q.positions = batch_.positions.data();
    rope_q.inv_freq = op.style == RopeStyle::none ? nullptr : weight(op.inv_freq).floats();
    rope_q.magnitude = op.magnitude;
    rope_q.n_heads = op.n_heads;
    rope_q.head_dim = head_dim;
    rope_q.rope_dims = op.rope_dims;
    rope_q.style = op.style;
    RopeArgs rope_k = rope_q;
    rope_k.x = k.data();
    rope_k.x_stride = k.cols;
    rope_k.n_heads = kv_spec_.n_kv_heads;

    KvStoreArgs store;
    store.k = k.data();
    store.v = v.data();
    store.k_stride = k.cols;
    store.v_stride = v.cols;
    store.slots = slots_.data();
    store.kv = kv_view(op.layer);

    const Shape shape = {
        .m = rows, .head_dim = head_dim, .n_heads = op.n_heads, .n_kv_heads = kv_spec_.n_kv_heads};
    const Kernel* rope = op.style == RopeStyle::none ? nullptr : &small_kernel(Op::rope, Format::none, shape);
    const Kernel& kv_store = small_kernel(Op::kv_store, kv_spec_.format, shape);
    const Kernel* norm = nullptr;
    const Shape norm_shape = {.m = rows * op.n_heads, .n = head_dim};
    if (op.q_norm || op.k_norm) norm = &small_kernel(Op::norm, Format::none, norm_shape);

    // Heads are rows of their own to the norm kernel.
    const auto norm_heads = [&](BufferState& state, Weight scale, std::int64_t begin, std::int64_t end,
                                int worker) {
        NormArgs args;
        args.x = state.data();
        args.x_stride = head_dim;
        args.weight = weight(scale).floats();
        args.out = state.data();
        args.out_stride = head_dim;
        args.n = head_dim;
        args.eps = op.norm_eps;
        const std::int64_t heads = state.cols / head_dim;
        run(*norm, norm_shape, args, begin * heads, end * heads, worker);
    };
    pool_.parallel_for(rows, 8, [&](std::int64_t begin, std::int64_t end, int worker) {
        if (op.q_norm) norm_heads(q, op.q_norm, begin, end, worker);
        if (op.k_norm) norm_heads(k, op.k_norm, begin, end, worker);
        if (rope != nullptr) {
            run(*rope, shape, rope_q, begin, end, worker);
            run(*rope, shape, rope_k, begin, end, worker);
        }
        run(kv_store, shape, store, begin, end, worker);
    });
}

void CpuBackend::attention(const AttentionOp& op) {
    BufferState& q = buffer(op.q);
    BufferState& out = buffer(op.out);
    AttentionArgs args;
    args.q = q.data();
    args.q_stride = q.cols;
    args.out = out.data();
    args.out_stride = out.cols;
    args.kv = kv_view(op.layer);
    args.block_table = batch_.block_table.data();
    args.block_table_stride = batch_.block_table_stride;
    args.token_sequence = row_sequences_.data();
    args.positions = batch_.positions.data();
    args.n_tokens = q.live_rows;
    args.n_heads = op.n_heads;
    args.scale = op.scale;
    args.softcap = op.softcap;
    args.window = op.window;
    args.sinks = op.sinks ? weight(op.sinks).floats() : nullptr;
    args.causal = op.causal;
    args.kv_lens = batch_.kv_lens.data();

    const Shape shape = {.m = q.live_rows,
                         .head_dim = kv_spec_.head_dim,
                         .n_heads = op.n_heads,
                         .n_kv_heads = kv_spec_.n_kv_heads};
    const Kernel& kernel = small_kernel(Op::attention, kv_spec_.format, shape);
    const std::int64_t items = q.live_rows * kv_spec_.n_kv_heads;
    const std::int64_t longest = *std::max_element(batch_.kv_lens.begin(), batch_.kv_lens.end());
    const std::int64_t work = 2 * q.live_rows * op.n_heads * longest * kv_spec_.head_dim;
    const std::int64_t chunk =
        work < kInlineWork ? items : std::clamp<std::int64_t>(items / (4 * pool_.size()), 1, 16);
    pool_.parallel_for(items, chunk, [&](std::int64_t begin, std::int64_t end, int worker) {
        run(kernel, shape, args, begin, end, worker);
    });
    out.written(q.live_rows);
}

void CpuBackend::gather_logit_rows(Buffer in, Buffer out) {
    const BufferState& source = buffer(in);
    BufferState& target = buffer(out);
    for (std::size_t i = 0; i < batch_.logit_rows.size(); ++i)
        std::memcpy(target.data() + static_cast<std::int64_t>(i) * target.cols,
                    source.data() + batch_.logit_rows[i] * source.cols,
                    static_cast<std::size_t>(source.cols) * sizeof(float));
    target.written(static_cast<std::int64_t>(batch_.logit_rows.size()));
}

std::span<const float> CpuBackend::end(Buffer result) {
    const BufferState& state = buffer(result);
    return {state.data(), static_cast<std::size_t>(state.live_rows * state.cols)};
}

const Kernel& CpuBackend::linear_kernel(WeightState& weight, std::int64_t m) {
    const std::size_t index = kernel_index(m);
    if (weight.kernels.size() <= index) weight.kernels.resize(index + 1, nullptr);
    const Kernel*& kernel = weight.kernels[index];
    if (kernel == nullptr) {
        const Shape shape = {.m = m, .n = weight.rows, .k = weight.cols};
        kernel = &selector_.select(Op::linear, weight.format, Layout::gguf, Layout::f32, shape);
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
            made.bytes = PageBuffer(static_cast<std::size_t>(made.row_bytes * input.rows));
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
        pool_.parallel_for(input.live_rows, 8, [&](std::int64_t begin, std::int64_t end, int worker) {
            run(kernel, shape, args, begin, end, worker);
        });
    }
    form->valid = true;
    return *form;
}

// One linear operation, resolved: which kernels, where the operands are, how its rows are cut.
struct CpuBackend::LinearJob {
    const Kernel* kernel = nullptr;
    const Kernel* up_kernel = nullptr;
    const Kernel* glu = nullptr;
    LinearArgs args;
    LinearArgs up_args;
    const float* bias = nullptr;
    const float* residual = nullptr;
    Activation activation = Activation::none;
    std::int64_t chunk_rows = 0;
    std::int64_t n_chunks = 0;

    bool has_epilogue() const { return bias != nullptr || residual != nullptr || glu != nullptr; }
    Shape shape() const { return {.m = args.m, .n = args.n, .k = args.k}; }
};

CpuBackend::LinearJob CpuBackend::plan_linear(const LinearOp& op) {
    BufferState& in = buffer(op.in);
    BufferState& out = buffer(op.out);
    const std::int64_t m = in.live_rows;
    LinearJob job;
    const auto bind = [&](Weight handle, const Kernel*& kernel, LinearArgs& args) {
        WeightState& matrix = weight(handle);
        kernel = &linear_kernel(matrix, m);
        const PackedForm& act = packed_form(in, kernel->act_layout);
        args.weight = matrix.memory.data();
        args.weight_row_bytes = matrix.row_bytes;
        args.act = kernel->act_layout == Layout::f32 ? static_cast<const void*>(in.data()) : act.bytes.data();
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
    if (op.residual) job.residual = buffer(op.residual).data();
    job.activation = op.activation;
    if (op.activation != Activation::none)
        job.glu = &small_kernel(Op::glu, Format::none, {.m = m, .n = job.args.n});

    // Chunks: a few a thread so that a slow thread is not waited for, but long enough to stream.
    const std::int64_t n = job.args.n;
    const std::int64_t wanted = ceil_div(n, 8 * pool_.size());
    job.chunk_rows = std::clamp<std::int64_t>(ceil_div(wanted, kRowGroup) * kRowGroup, kRowGroup, 256);
    job.n_chunks = ceil_div(n, job.chunk_rows);
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
    const auto scratch_floats = static_cast<std::size_t>(m * width);
    auto* scratch = reinterpret_cast<float*>(
        grown(scratches_[static_cast<std::size_t>(worker)], 2 * scratch_floats * sizeof(float)));
    LinearArgs args = job.args;
    args.out = scratch;
    args.out_stride = width;
    args.out_offset = begin;
    run(*job.kernel, job.shape(), args, begin, end, worker);
    if (job.bias != nullptr)
        for (std::int64_t row = 0; row < m; ++row)
            for (std::int64_t i = 0; i < width; ++i) scratch[row * width + i] += job.bias[begin + i];
    if (job.glu != nullptr) {
        GluArgs glu;
        glu.gate = scratch;
        glu.gate_stride = width;
        glu.up = nullptr;
        glu.up_stride = width;
        glu.out = scratch;
        glu.out_stride = width;
        glu.n = width;
        glu.activation = job.activation;
        if (job.up_kernel != nullptr) {
            LinearArgs up = job.up_args;
            up.out = scratch + scratch_floats;
            up.out_stride = width;
            up.out_offset = begin;
            run(*job.up_kernel, job.shape(), up, begin, end, worker);
            glu.up = up.out;
        }
        run(*job.glu, {.m = m, .n = width}, glu, 0, m, worker);
    }
    for (std::int64_t row = 0; row < m; ++row) {
        float* out = job.args.out + row * job.args.out_stride + begin;
        const float* values = scratch + row * width;
        if (job.residual != nullptr) {
            const float* residual = job.residual + row * job.args.out_stride + begin;
            for (std::int64_t i = 0; i < width; ++i) out[i] = residual[i] + values[i];
        } else {
            std::memcpy(out, values, static_cast<std::size_t>(width) * sizeof(float));
        }
    }
}

void CpuBackend::linear(std::span<const LinearOp> ops) {
    std::vector<LinearJob> jobs;
    jobs.reserve(ops.size());
    std::int64_t total = 0;
    std::int64_t work = 0;
    for (const LinearOp& op : ops) {
        if (buffer(op.in).live_rows == 0) continue;  // a step that wants no logits skips the head
        jobs.push_back(plan_linear(op));
        const LinearArgs& args = jobs.back().args;
        total += jobs.back().n_chunks;
        work += args.m * args.n * args.k;
    }
    pool_.parallel_for(
        total, work < kInlineWork ? total : 1, [&](std::int64_t begin, std::int64_t end, int worker) {
            for (std::int64_t index = begin; index < end; ++index) {
                std::int64_t chunk = index;
                std::size_t job = 0;
                while (chunk >= jobs[job].n_chunks) chunk -= jobs[job++].n_chunks;
                const std::int64_t first = chunk * jobs[job].chunk_rows;
                run_linear_rows(jobs[job], first, std::min(jobs[job].args.n, first + jobs[job].chunk_rows),
                                worker);
            }
        });
    for (const LinearOp& op : ops) buffer(op.out).written(buffer(op.in).live_rows);
}

}  // namespace llmcore
