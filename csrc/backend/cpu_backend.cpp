#include "backend/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/file_reader.h"
#include "quant/format_table.h"
#include "quant/quantize.h"

namespace llmcore {

namespace {

constexpr std::int64_t kBlockTokens = 32;
constexpr std::int64_t kLeastCopyChunk = std::int64_t{1} << 18;
constexpr std::int64_t kMostCopyChunk = std::int64_t{4} << 20;
constexpr std::int64_t kConvertRows = 8;
// Of tokens and KV heads that attention takes at a time: tiles hold more queries than vectors.
constexpr std::int64_t kAttentionItems = 16;
constexpr std::int64_t kTileItems = 64;
// A step that nothing interrupts should take no longer.
constexpr std::int64_t kStepSeconds = 1;

// Multiplications and additions of a second and thread, about: what is right of the order of magnitude sizes
// steps well enough, and a figure that is measured would cut the same prompt otherwise each time.
std::int64_t thread_operations(const KernelSelector& selector) {
    constexpr std::int64_t kBillion = 1'000'000'000;
    Isa isa = Isa::scalar;
    for (const Kernel* kernel : selector.usable()) isa = std::max(isa, kernel->isa);
    switch (isa) {
        case Isa::scalar:
            return 4 * kBillion;
        case Isa::avx2:
            return 150 * kBillion;
        case Isa::avxvnni:
            return 250 * kBillion;
        case Isa::avx512:
            return 400 * kBillion;
        case Isa::amx:
            return 1000 * kBillion;
        case Isa::neon:
            return 40 * kBillion;
        case Isa::dotprod:
            return 80 * kBillion;
        case Isa::i8mm:
            return 150 * kBillion;
    }
    return kBillion;
}

// Where in a page of the file the matrix begins; its copy begins there too.
std::size_t place_in_page(const WeightView& view) {
    return view.file == nullptr ? 0 : static_cast<std::size_t>(view.file_offset) % FileReader::kPage;
}

}  // namespace

CpuBackend::CpuBackend(KernelSelector selector, std::shared_ptr<ThreadPool> threads, bool weights_in_place)
    : selector_(std::move(selector)),
      weights_in_place_(weights_in_place),
      threads_(std::move(threads)),
      pool_(*threads_),
      workspaces_(static_cast<std::size_t>(pool_.size())),
      scratches_(static_cast<std::size_t>(pool_.size())) {}

BackendInfo CpuBackend::info() const {
    return {.name = "cpu",
            .kv_block_tokens = kBlockTokens,
            .threads = pool_.size(),
            .step_operations = kStepSeconds * pool_.size() * thread_operations(selector_)};
}

Buffer CpuBackend::alloc(std::int64_t rows, std::int64_t cols) {
    BufferState state;
    state.memory =
        PageBuffer(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * sizeof(float));
    state.rows = rows;
    state.cols = cols;
    buffers_.push_back(std::move(state));
    return {static_cast<std::int32_t>(buffers_.size()) - 1};
}

// From the file where there is one: its pages are not mapped then, and huge ones are filled as they are made.
// Pieces begin where pages of the file do.
void CpuBackend::copy_rows(const WeightView& view, std::byte* target, std::int64_t bytes) {
    const auto before = static_cast<std::int64_t>(place_in_page(view));
    const std::int64_t chunk =
        std::clamp(bytes / (4 * pool_.size()), kLeastCopyChunk, kMostCopyChunk) & -kLeastCopyChunk;
    pool_.parallel_for(before + bytes, chunk, [&](std::int64_t page, std::int64_t end_page, int) {
        const std::int64_t begin = std::max(page - before, std::int64_t{0});
        const auto size = static_cast<std::size_t>(end_page - before - begin);
        if (view.file != nullptr)
            view.file->read(view.file_offset + begin, {target + begin, size});
        else
            std::memcpy(target + begin, static_cast<const std::byte*>(view.data) + begin, size);
    });
}

void CpuBackend::convert_rows(const WeightView& view, std::byte* target) {
    const auto* source = static_cast<const std::byte*>(view.data);
    const std::int64_t source_bytes = row_bytes(view.format, view.cols);
    const std::int64_t target_bytes = row_bytes(view.stored, view.cols);
    const std::size_t row_floats = static_cast<std::size_t>(view.cols) * sizeof(float);
    pool_.parallel_for(view.rows, kConvertRows, [&](std::int64_t begin, std::int64_t end, int worker) {
        auto* values =
            reinterpret_cast<float*>(grown(scratches_[static_cast<std::size_t>(worker)], row_floats));
        for (std::int64_t row = begin; row < end; ++row) {
            dequantize(view.format, source + row * source_bytes, values, view.cols);
            quantize(view.stored, values, target + row * target_bytes, view.cols);
        }
    });
}

Weight CpuBackend::upload(const WeightView& view) {
    WeightState state;
    state.format = view.stored;
    state.rows = view.rows;
    state.cols = view.cols;
    state.row_bytes = row_bytes(view.stored, view.cols);
    const std::int64_t bytes = state.row_bytes * view.rows;
    if (weights_in_place_ && view.stored == view.format && view.rows > 1) {
        state.bytes = static_cast<const std::byte*>(view.data);
        pool_.parallel_for(bytes, kMostCopyChunk, [&](std::int64_t begin, std::int64_t end, int) {
            map_file_pages(state.bytes + begin, static_cast<std::size_t>(end - begin));
        });
    } else {
        const auto size = static_cast<std::size_t>(bytes);
        std::byte* rows = nullptr;
        if (view.stored != view.format) {
            rows = weight_memory_.take(size);
            convert_rows(view, rows);
        } else {
            rows = view.file == nullptr ? weight_memory_.take(size)
                                        : weight_memory_.take_at(size, place_in_page(view));
            copy_rows(view, rows, bytes);
        }
        state.bytes = rows;
    }
    weights_.push_back(std::move(state));
    return {static_cast<std::int32_t>(weights_.size()) - 1};
}

std::int64_t CpuBackend::weight_bytes(const WeightView& view) const {
    return view.rows * row_bytes(view.stored, view.cols);
}

void CpuBackend::alloc_kv(const KvSpec& spec) {
    kv_spec_ = spec;
    kv_layers_.clear();
    const std::int64_t head_bytes = kBlockTokens * row_bytes(spec.format, spec.head_dim);
    for (std::int64_t layer = 0; layer < spec.n_layers; ++layer)
        kv_layers_.emplace_back(static_cast<std::size_t>(spec.n_blocks * 2 * spec.n_kv_heads * head_bytes));
}

bool CpuBackend::caches(Format format, std::int64_t head_dim) const {
    const Shape shape = {.m = 1, .head_dim = head_dim, .n_heads = 1, .n_kv_heads = 1};
    const auto has = [&](Op op) {
        return selector_.find(op, format, Layout::none, Layout::f32, shape) != nullptr;
    };
    return has(Op::kv_store) && has(Op::attention);
}

// Of one layer.
std::int64_t CpuBackend::kv_layer_block_bytes() const {
    return 2 * kv_spec_.n_kv_heads * kBlockTokens * row_bytes(kv_spec_.format, kv_spec_.head_dim);
}

std::int64_t CpuBackend::kv_block_bytes() const { return kv_spec_.n_layers * kv_layer_block_bytes(); }

void CpuBackend::read_kv_block(std::int32_t block, std::byte* to) {
    const std::int64_t bytes = kv_layer_block_bytes();
    for (std::size_t layer = 0; layer < kv_layers_.size(); ++layer)
        std::memcpy(to + static_cast<std::int64_t>(layer) * bytes, kv_layers_[layer].data() + block * bytes,
                    static_cast<std::size_t>(bytes));
}

void CpuBackend::write_kv_block(std::int32_t block, const std::byte* from) {
    const std::int64_t bytes = kv_layer_block_bytes();
    for (std::size_t layer = 0; layer < kv_layers_.size(); ++layer)
        std::memcpy(kv_layers_[layer].data() + block * bytes, from + static_cast<std::int64_t>(layer) * bytes,
                    static_cast<std::size_t>(bytes));
}

void CpuBackend::copy_kv_block(std::int32_t from, std::int32_t to) {
    const std::int64_t bytes = kv_layer_block_bytes();
    for (auto& layer : kv_layers_)
        std::memcpy(layer.data() + to * bytes, layer.data() + from * bytes, static_cast<std::size_t>(bytes));
}

KvView CpuBackend::kv_view(std::int64_t layer) const {
    const std::int64_t head_bytes = kBlockTokens * row_bytes(kv_spec_.format, kv_spec_.head_dim);
    return {.base = kv_layers_[static_cast<std::size_t>(layer)].data(),
            .block_bytes = kv_layer_block_bytes(),
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
    note_adapters(batch);
}

void CpuBackend::write_rows(Buffer to, std::span<const float> values) {
    BufferState& target = buffer(to);
    const std::size_t rows = batch_.tokens.size();
    if (values.size() != rows * static_cast<std::size_t>(target.cols))
        fail(ErrorCode::internal, "backend", "values that are written", std::to_string(values.size()),
             std::to_string(rows) + " rows of " + std::to_string(target.cols));
    std::memcpy(target.data(), values.data(), values.size_bytes());
    target.written(static_cast<std::int64_t>(rows));
}

void CpuBackend::add_row(Weight table, std::int64_t row, float* values, int worker) {
    const WeightState& rows = weight(table);
    auto* added = reinterpret_cast<float*>(grown(scratches_[static_cast<std::size_t>(worker)],
                                                 static_cast<std::size_t>(rows.cols) * sizeof(float)));
    dequantize(rows.format, rows.bytes + row * rows.row_bytes, added, rows.cols);
    for (std::int64_t i = 0; i < rows.cols; ++i) values[i] += added[i];
}

void CpuBackend::embed(const EmbedOp& op) {
    BufferState& out = buffer(op.out);
    const WeightState& table = weight(op.table);
    const auto n = static_cast<std::int64_t>(batch_.tokens.size());
    pool_.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int worker) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t token = batch_.tokens[static_cast<std::size_t>(row)];
            float* values = out.data() + row * out.cols;
            dequantize(table.format, table.bytes + token * table.row_bytes, values, table.cols);
            if (op.scale != 1.0F)
                for (std::int64_t i = 0; i < table.cols; ++i) values[i] *= op.scale;
            if (op.positions)
                add_row(op.positions, batch_.positions[static_cast<std::size_t>(row)], values, worker);
            if (op.types) add_row(op.types, 0, values, worker);
        }
    });
    out.written(n);
}

const Kernel& CpuBackend::small_kernel(Op op, Format format, const Shape& shape, Layout out) {
    // Attention has no n; its kernels differ by the number of tokens.
    const std::int64_t n = op == Op::attention ? std::min<std::int64_t>(shape.m, 64) : shape.n;
    const Kernel*& kernel = small_kernels_[{op, format, out, n, shape.k, shape.head_dim}];
    if (kernel == nullptr) {
        kernel = &selector_.select(op, format, Layout::none, out, shape);
        ledger_.note(op, format, out, shape);
    }
    return *kernel;
}

void CpuBackend::run(const Kernel& kernel, const Shape& shape, const Args& args, std::int64_t begin,
                     std::int64_t end, int worker) {
    const std::size_t bytes = kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(&shape);
    kernel.run(&args, begin, end,
               bytes == 0 ? nullptr : grown(workspaces_[static_cast<std::size_t>(worker)], bytes));
}

// args: of either kind; what only one has is there already.
template <class A>
void CpuBackend::run_norm(Op kind, const NormOp& op, A args) {
    BufferState& in = buffer(op.in);
    BufferState& out = buffer(op.out);
    args.x = in.data();
    args.x_stride = in.cols;
    args.weight = weight(op.weight).floats();
    args.out = out.data();
    args.out_stride = out.cols;
    args.n = in.cols;
    args.eps = op.eps;
    const Shape shape = {.m = in.live_rows, .n = in.cols};
    const Kernel& kernel = small_kernel(kind, Format::none, shape);
    pool_.parallel_for(in.live_rows, 8, [&](std::int64_t begin, std::int64_t end, int worker) {
        run(kernel, shape, args, begin, end, worker);
    });
    out.written(in.live_rows);
    out.of_logit_rows = in.of_logit_rows;
}

void CpuBackend::norm(const NormOp& op) {
    if (op.style == NormStyle::layer) {
        LayerNormArgs args;
        args.bias = op.bias ? weight(op.bias).floats() : nullptr;
        run_norm(Op::layer_norm, op, args);
    } else {
        NormArgs args;
        args.residual = op.residual ? buffer(op.residual).data() : nullptr;
        run_norm(Op::norm, op, args);
    }
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
        args.residual = nullptr;
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
        work < kInlineWork ? items
                           : std::clamp<std::int64_t>(items / (4 * pool_.size()), 1,
                                                      kernel.isa == Isa::amx ? kTileItems : kAttentionItems);
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
    target.of_logit_rows = true;
}

std::span<const float> CpuBackend::end(Buffer result) {
    const BufferState& state = buffer(result);
    return {state.data(), static_cast<std::size_t>(state.live_rows * state.cols)};
}

}  // namespace llmcore
