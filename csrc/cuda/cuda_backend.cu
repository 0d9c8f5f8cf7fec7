#include "cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <utility>

#include "base/error.h"
#include "cuda/kernels/attention.h"
#include "cuda/packed/repack.h"
#include "cuda/stream.h"
#include "quant/format_table.h"
#include "quant/quantize.h"

namespace llmcore::cuda {

namespace {

constexpr std::size_t kMostGraphs = 64;
constexpr std::size_t kArrivedWords = 32;  // a cache line of its own
// A sequence with fewer rows in a step reads its cache row by row; with more, in tiles that share what they
// read.
constexpr std::int32_t kLeastTileRows = 9;

// Runs body(begin, end) over [0, count) in parts whose borders are multiples of `unit`.
template <class Body>
void in_parallel(std::int64_t count, std::int64_t unit, Body body) {
    const std::int64_t threads = std::clamp<std::int64_t>(std::thread::hardware_concurrency(), 1, 64);
    const std::int64_t part = tiles_of(tiles_of(count, unit), threads) * unit;
    std::vector<std::thread> workers;
    for (std::int64_t begin = part; begin < count; begin += part)
        workers.emplace_back(body, begin, std::min(count, begin + part));
    body(0, std::min(count, part));
    for (std::thread& worker : workers) worker.join();
}

std::int32_t next_power_of_two(std::int64_t value) {
    std::int32_t power = 1;
    while (power < value) power *= 2;
    return power;
}

std::uint64_t mixed(std::uint64_t state, std::uint64_t value) {
    // The finalizer of SplitMix64 (Steele et al. 2014).
    std::uint64_t z = (state ^ value) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    return z ^ (z >> 27);
}

// A fingerprint of everything an operation says.
class Fingerprint {
public:
    template <class T>
    Fingerprint& operator<<(T value) {
        std::uint64_t bits = 0;
        static_assert(sizeof value <= sizeof bits);
        std::memcpy(&bits, &value, sizeof value);
        state_ = mixed(state_, bits);
        return *this;
    }
    Fingerprint& operator<<(Buffer handle) { return *this << handle.id; }
    Fingerprint& operator<<(Weight handle) { return *this << handle.id; }

    void operator()(const EmbedOp& op) { *this << 'e' << op.table << op.out << op.scale; }
    void operator()(const NormOp& op) {
        *this << 'n' << op.in << op.weight << op.out << op.eps << op.residual;
    }
    void operator()(const LinearGroup& group) {
        for (const LinearOp& op : group.ops)
            *this << 'l' << op.in << op.weight << op.out << op.bias << op.up << op.up_bias << op.residual
                  << op.gate << op.activation << op.softcap;
    }
    void operator()(const MoeOp& op) {
        *this << 'm' << op.in << op.router << op.gate << op.up << op.down << op.gate_bias << op.up_bias
              << op.down_bias << op.gated << op.down_rows << op.residual << op.out << op.n_used
              << op.normalized << op.scale << op.activation;
    }
    void operator()(const RopeStoreOp& op) {
        *this << 'r' << op.q << op.k << op.v << op.layer << op.n_heads << op.style << op.rope_dims
              << op.inv_freq << op.magnitude << op.q_norm << op.k_norm << op.norm_eps;
    }
    void operator()(const AttentionOp& op) {
        *this << 'a' << op.q << op.out << op.layer << op.n_heads << op.scale << op.softcap << op.window
              << op.sinks << op.causal;
    }
    void operator()(const GatherOp& op) { *this << 'g' << op.in << op.out; }

    std::uint64_t value() const { return state_; }

private:
    std::uint64_t state_ = 0;
};

}  // namespace

std::size_t CudaBackend::StepKeyHash::operator()(const StepKey& key) const {
    std::uint64_t state = key.operations;
    for (const std::int32_t part : {key.n_rows, key.n_sequences, key.n_logit_rows, key.table_stride,
                                    key.n_splits, key.n_decode_rows, key.n_tiles, key.result})
        state = mixed(state, static_cast<std::uint64_t>(part));
    return state;
}

CudaBackend::CudaBackend(int device) : device_(device) {
    use_device(device);
    limits_ = device_limits();
    stream_ = make_stream();
    uses_graphs_ = graphs_available();
    matmul_workspace_ = DeviceMemory(matmul_workspace_bytes(limits_));
    fill_device(matmul_workspace_.as<void>(), 0, matmul_workspace_.bytes(), stream_);
    uses_programs_ = programs_wanted() && programs_available(limits_);
}

CudaBackend::~CudaBackend() {
    forget_graphs();
    host_free(step_host_);
    host_free(kv_host_);
    host_free(result_host_);
    destroy_stream(stream_);
}

void CudaBackend::forget_graphs() {
    for (auto& [key, graph] : graphs_) destroy_graph(graph.executable);
    graphs_.clear();
    programs_.clear();
}

void CudaBackend::info(AbiInfo& info) const {
    const DeviceLimits now = device_limits();
    std::snprintf(info.name, sizeof info.name, "%s", now.name);
    info.kv_block_tokens = kKvBlockTokens;
    info.total_bytes = static_cast<std::int64_t>(now.total_bytes);
    info.free_bytes = static_cast<std::int64_t>(now.free_bytes);
    info.compute_capability = now.compute_capability;
    info.multiprocessors = now.multiprocessors;
}

Buffer CudaBackend::alloc(std::int64_t rows, std::int64_t cols) {
    BufferState state;
    state.memory = DeviceMemory(static_cast<std::size_t>(rows * cols) * sizeof(float));
    state.rows = rows;
    state.cols = cols;
    buffers_.push_back(std::move(state));
    return {static_cast<std::int32_t>(buffers_.size()) - 1};
}

void CudaBackend::convert_and_pack(const WeightView& view, WeightState& state) {
    const std::int64_t stored_bytes = row_bytes(view.stored, view.cols);
    const auto* source = static_cast<const std::byte*>(view.data);
    std::vector<std::byte> converted;
    if (view.stored != view.format) {
        const std::int64_t source_bytes = row_bytes(view.format, view.cols);
        converted.resize(static_cast<std::size_t>(stored_bytes * view.rows));
        in_parallel(view.rows, 1, [&](std::int64_t begin, std::int64_t end) {
            std::vector<float> values(static_cast<std::size_t>(view.cols));
            for (std::int64_t row = begin; row < end; ++row) {
                dequantize(view.format, source + row * source_bytes, values.data(), view.cols);
                quantize(view.stored, values.data(), converted.data() + row * stored_bytes, view.cols);
            }
        });
        source = converted.data();
    }
    if (state.packing == Packing::f32 || state.packing == Packing::s8x16) {
        std::vector<std::byte> packed(state.memory.bytes());
        const std::int64_t tile_bytes = packed_bytes(state.packing, kTileRows, view.cols);
        in_parallel(view.rows, kTileRows, [&](std::int64_t begin, std::int64_t end) {
            repack_host(view.stored, source + begin * stored_bytes, end - begin, view.cols,
                        packed.data() + begin / kTileRows * tile_bytes);
        });
        copy_to_device(state.memory.as<void>(), packed.data(), packed.size(), stream_);
        wait_for(stream_);
        return;
    }
    const auto bytes = static_cast<std::size_t>(stored_bytes * view.rows);
    if (raw_rows_.bytes() < bytes) {
        raw_rows_ = DeviceMemory();
        raw_rows_ = DeviceMemory(bytes);
    }
    copy_to_device(raw_rows_.as<void>(), source, bytes, stream_);
    repack_device(stream_, view.stored, raw_rows_.as<void>(), view.rows, view.cols, state.memory.as<void>());
    wait_for(stream_);
}

Weight CudaBackend::upload(const WeightView& view) {
    WeightState state;
    state.packing = packing_of(view.stored);
    state.rows = view.rows;
    state.cols = view.cols;
    state.memory = DeviceMemory(static_cast<std::size_t>(packed_bytes(state.packing, view.rows, view.cols)));
    convert_and_pack(view, state);
    weights_.push_back(std::move(state));
    return {static_cast<std::int32_t>(weights_.size()) - 1};
}

bool CudaBackend::caches(Format format, std::int64_t head_dim) {
    if (format == Format::Q8_0) return head_dim % format_info(format).block_elements == 0;
    return format == Format::F16 || format == Format::F32;
}

std::int64_t CudaBackend::weight_bytes(const WeightView& view) const {
    return packed_bytes(packing_of(view.stored), view.rows, view.cols);
}

void CudaBackend::alloc_kv(const KvSpec& spec) {
    if (!caches(spec.format, spec.head_dim))
        fail(ErrorCode::invalid_argument, "cuda", "format of the KV cache",
             std::string(format_info(spec.format).name) + " for heads of " + std::to_string(spec.head_dim),
             "F16, F32, or Q8_0 for heads of a multiple of 32");
    raw_rows_ = DeviceMemory();  // loading is over
    forget_graphs();
    kv_spec_ = spec;
    kv_layers_.clear();
    host_free(std::exchange(kv_host_, nullptr));
    const std::size_t bytes = static_cast<std::size_t>(spec.n_blocks) * kv_layer_block_bytes();
    for (std::int64_t layer = 0; layer < spec.n_layers; ++layer) {
        kv_layers_.emplace_back(bytes);
        // What no token wrote is read, weighed by 0: it must be a number.
        fill_device(kv_layers_.back().as<void>(), 0, bytes, stream_);
    }
    if (kv_block_bytes() > 0) kv_host_ = host_alloc(static_cast<std::size_t>(kv_block_bytes()));
    wait_for(stream_);
}

std::size_t CudaBackend::kv_layer_block_bytes() const {
    return static_cast<std::size_t>(2 * kv_spec_.n_kv_heads * kKvBlockTokens *
                                    row_bytes(kv_spec_.format, kv_spec_.head_dim));
}

std::byte* CudaBackend::kv_block(std::size_t layer, std::int32_t block) const {
    return kv_layers_[layer].as<std::byte>() + static_cast<std::size_t>(block) * kv_layer_block_bytes();
}

std::int64_t CudaBackend::kv_block_bytes() const {
    return static_cast<std::int64_t>(kv_layers_.size() * kv_layer_block_bytes());
}

void CudaBackend::read_kv_block(std::int32_t block, std::byte* to) {
    use_device(device_);
    const std::size_t bytes = kv_layer_block_bytes();
    auto* const staged = static_cast<std::byte*>(kv_host_);
    for (std::size_t layer = 0; layer < kv_layers_.size(); ++layer)
        copy_to_host(staged + layer * bytes, kv_block(layer, block), bytes, stream_);
    wait_for(stream_);
    std::memcpy(to, staged, kv_layers_.size() * bytes);
}

void CudaBackend::write_kv_block(std::int32_t block, const std::byte* from) {
    use_device(device_);
    const std::size_t bytes = kv_layer_block_bytes();
    auto* const staged = static_cast<std::byte*>(kv_host_);
    std::memcpy(staged, from, kv_layers_.size() * bytes);
    for (std::size_t layer = 0; layer < kv_layers_.size(); ++layer)
        copy_to_device(kv_block(layer, block), staged + layer * bytes, bytes, stream_);
    wait_for(stream_);  // the next block is staged in the same place
}

void CudaBackend::copy_kv_block(std::int32_t from, std::int32_t to) {
    use_device(device_);
    for (std::size_t layer = 0; layer < kv_layers_.size(); ++layer)
        copy_on_device(kv_block(layer, to), kv_block(layer, from), kv_layer_block_bytes(), stream_);
}

KvLayer CudaBackend::kv_layer(std::int64_t layer) const {
    return {.base = kv_layers_[static_cast<std::size_t>(layer)].as<void>(),
            .format = kv_spec_.format,
            .n_kv_heads = static_cast<std::int32_t>(kv_spec_.n_kv_heads),
            .head_dim = static_cast<std::int32_t>(kv_spec_.head_dim)};
}

CudaBackend::StepLayout CudaBackend::step_layout() const {
    StepLayout layout = {};
    std::size_t size = 0;
    const auto take = [&](std::size_t count) {
        const std::size_t at = size;
        size += (count + 3) / 4 * 4;  // parts begin at multiples of 16 bytes
        return at;
    };
    const auto rows = static_cast<std::size_t>(key_.n_rows);
    const auto sequences = static_cast<std::size_t>(key_.n_sequences);
    layout.arrived = take(kArrivedWords);
    layout.tokens = take(rows);
    layout.positions = take(rows);
    layout.row_sequences = take(rows);
    layout.kv_lens = take(sequences);
    layout.block_table = take(sequences * static_cast<std::size_t>(key_.table_stride));
    layout.logit_rows = take(static_cast<std::size_t>(key_.n_logit_rows));
    layout.decode_rows = take(static_cast<std::size_t>(key_.n_decode_rows));
    layout.tiles = take(4 * static_cast<std::size_t>(key_.n_tiles));
    layout.size = size;
    return layout;
}

void CudaBackend::write_step(const AbiBatch& batch, std::int32_t* parts) const {
    const auto rows = static_cast<std::size_t>(batch.n_tokens);
    std::fill_n(parts + layout_.arrived, kArrivedWords, 0);
    std::copy_n(batch.tokens, rows, parts + layout_.tokens);
    std::copy_n(batch.positions, rows, parts + layout_.positions);
    std::copy_n(batch.kv_lens, batch.n_sequences, parts + layout_.kv_lens);
    std::copy_n(batch.logit_rows, batch.n_logit_rows, parts + layout_.logit_rows);
    std::int32_t* decode_row = parts + layout_.decode_rows;
    std::int32_t* tile = parts + layout_.tiles;
    for (std::int32_t s = 0; s < key_.n_sequences; ++s) {
        const std::int32_t first = batch.row_starts[s];
        const std::int32_t end = batch.row_starts[s + 1];
        std::fill(parts + layout_.row_sequences + first, parts + layout_.row_sequences + end, s);
        std::int32_t* blocks = parts + layout_.block_table + static_cast<std::size_t>(s) * key_.table_stride;
        const auto known = static_cast<std::int32_t>(batch.block_table_stride);
        std::copy_n(batch.block_table + s * batch.block_table_stride, known, blocks);
        std::fill(blocks + known, blocks + key_.table_stride, 0);
        if (end - first < kLeastTileRows) {
            for (std::int32_t row = first; row < end; ++row) *decode_row++ = row;
            continue;
        }
        for (std::int32_t row = first; row < end; row += kPrefillRows) {
            *tile++ = s;
            *tile++ = row;
            *tile++ = std::min(end - row, kPrefillRows);
            *tile++ = 0;
        }
    }
}

void CudaBackend::upload_step(const AbiBatch& batch) {
    key_ = {.n_rows = static_cast<std::int32_t>(batch.n_tokens),
            .n_sequences = static_cast<std::int32_t>(batch.n_sequences),
            .n_logit_rows = static_cast<std::int32_t>(batch.n_logit_rows),
            .table_stride = next_power_of_two(batch.block_table_stride)};
    std::int64_t longest = 1;
    for (std::int32_t s = 0; s < key_.n_sequences; ++s) {
        const std::int32_t rows = batch.row_starts[s + 1] - batch.row_starts[s];
        if (rows < kLeastTileRows) {
            key_.n_decode_rows += rows;
            longest = std::max<std::int64_t>(longest, batch.kv_lens[s]);
        } else {
            key_.n_tiles += static_cast<std::int32_t>(tiles_of(rows, kPrefillRows));
        }
    }
    key_.n_splits = key_.n_decode_rows == 0 ? 1
                                            : attention_splits(key_.n_decode_rows, kv_spec_.n_kv_heads,
                                                               longest, limits_.multiprocessors);
    layout_ = step_layout();
    const std::size_t bytes = layout_.size * sizeof(std::int32_t);
    if (step_memory_.bytes() < bytes) {
        // Graphs hold addresses of the old one.
        forget_graphs();
        step_memory_ = DeviceMemory(2 * bytes);
        host_free(step_host_);
        step_host_ = nullptr;
        step_host_ = host_alloc(2 * bytes);
    }
    auto* parts = static_cast<std::int32_t*>(step_host_);
    write_step(batch, parts);
    copy_to_device(step_memory_.as<void>(), step_host_, bytes, stream_);
    const auto* base = step_memory_.as<std::int32_t>();
    step_ = {.tokens = base + layout_.tokens,
             .positions = base + layout_.positions,
             .row_sequences = base + layout_.row_sequences,
             .kv_lens = base + layout_.kv_lens,
             .block_table = base + layout_.block_table,
             .logit_rows = base + layout_.logit_rows,
             .block_table_stride = key_.table_stride,
             .n_rows = key_.n_rows,
             .n_sequences = key_.n_sequences,
             .n_logit_rows = key_.n_logit_rows};
    decode_rows_ = base + layout_.decode_rows;
    arrived_ = step_memory_.as<std::uint32_t>() + layout_.arrived;
    tiles_ = base + layout_.tiles;
}

void CudaBackend::begin(const AbiBatch& batch) {
    use_device(device_);
    operations_.clear();
    upload_step(batch);
}

void CudaBackend::write_rows(Buffer to, const float* values, std::int64_t count) {
    BufferState& target = buffer(to);
    if (count != key_.n_rows * target.cols)
        fail(ErrorCode::internal, "cuda", "values that are written", std::to_string(count),
             std::to_string(key_.n_rows) + " rows of " + std::to_string(target.cols));
    copy_to_device(target.memory.as<void>(), values, static_cast<std::size_t>(count) * sizeof(float),
                   stream_);
    written(target, key_.n_rows);
}

void CudaBackend::note(Operation operation) { operations_.push_back(std::move(operation)); }

void CudaBackend::run_or_replay(BufferState& result) {
    Fingerprint fingerprint;
    for (const Operation& operation : operations_) std::visit(fingerprint, operation);
    key_.operations = fingerprint.value();
    // Steps with chunks of prompts seldom come again in the same shape.
    if (!uses_graphs_ || key_.n_tiles > 0) {
        run_operations();
        return;
    }
    if (graphs_.size() >= kMostGraphs && !graphs_.contains(key_)) forget_graphs();
    const auto [entry, is_new] = graphs_.try_emplace(key_);
    Graph& graph = entry->second;
    if (is_new) {
        // The first time memory may still be taken, which a graph cannot hold.
        try {
            run_operations();
        } catch (...) {
            graphs_.erase(entry);
            throw;
        }
        return;
    }
    if (graph.executable == nullptr) {
        program_of_step();  // memory again
        begin_capture(stream_);
        try {
            run_operations();
        } catch (...) {
            abandon_capture(stream_);
            throw;
        }
        graph.executable = end_capture(stream_);
    }
    launch_graph(stream_, graph.executable);
    note_result(result);
}

// What the operations would have noted.
void CudaBackend::note_result(BufferState& result) {
    const bool of_logit_rows =
        std::any_of(operations_.begin(), operations_.end(),
                    [](const Operation& operation) { return std::holds_alternative<GatherOp>(operation); });
    result.live_rows = of_logit_rows ? key_.n_logit_rows : key_.n_rows;
}

std::span<const float> CudaBackend::end(Buffer result) {
    BufferState& state = buffer(result);
    key_.result = result.id;
    run_or_replay(state);
    const auto count = static_cast<std::size_t>(state.live_rows * state.cols);
    if (result_host_bytes_ < count * sizeof(float)) {
        host_free(result_host_);
        result_host_ = nullptr;
        result_host_ = host_alloc(count * sizeof(float));
        result_host_bytes_ = count * sizeof(float);
    }
    if (count > 0) copy_to_host(result_host_, state.data(), count * sizeof(float), stream_);
    wait_for(stream_);
    return {static_cast<const float*>(result_host_), count};
}

}  // namespace llmcore::cuda
