#include "backend/plugin_backend.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "base/cpu_features.h"
#include "base/error.h"

namespace llmcore {

namespace {

// Rows of a step: few reads of the weights for a long prompt, and still some tens of milliseconds.
constexpr std::int64_t kStepTokens = 2048;
// For what the host does between steps.
constexpr int kMostThreads = 8;

constexpr std::array<std::size_t, 8> kOpBytes = {sizeof(EmbedOp),    sizeof(NormOp),      sizeof(LinearOp),
                                                 sizeof(MoeOp),      sizeof(RopeStoreOp), sizeof(AttentionOp),
                                                 sizeof(WeightView), sizeof(KvSpec)};

std::string text(const char* chars, std::size_t room) { return {chars, strnlen(chars, room)}; }

void check_table(const BackendTable& table) {
    const auto expect = [](const char* what, std::uint64_t got, std::uint64_t expected) {
        if (got != expected) {
            fail(ErrorCode::model, "backend", std::string("the device library is of another build: ") + what,
                 std::to_string(got), std::to_string(expected));
        }
    };
    expect("abi", table.abi, kBackendAbi);
    expect("size of the table", table.size, sizeof(BackendTable));
    static_assert(std::size(BackendTable{}.op_bytes) == kOpBytes.size());
    for (std::size_t i = 0; i < kOpBytes.size(); ++i)
        expect("size of an operation", table.op_bytes[i], kOpBytes[i]);
}

// The return code as the error it stands for.
template <class Function, class... Args>
void call(Function function, Args... args) {
    AbiError error = {};
    const int code = function(args..., &error);
    if (code == 0) return;
    const bool known = code > 0 && code <= static_cast<int>(ErrorCode::internal) + 1;
    std::string message = text(error.message, sizeof error.message);
    if (message.empty()) message = "[backend] the device failed, code " + std::to_string(code);
    throw Error(known ? static_cast<ErrorCode>(code - 1) : ErrorCode::internal, message);
}

}  // namespace

PluginBackend::PluginBackend(const BackendTable& table, int threads, std::int32_t device)
    : table_(table), n_threads_(threads > 0 ? threads : std::min(available_processors(), kMostThreads)) {
    check_table(table);
    call(table.create, device, &backend_);
}

PluginBackend::~PluginBackend() { table_.destroy(backend_); }

AbiInfo PluginBackend::device_info() const {
    AbiInfo info = {};
    call(table_.info, backend_, &info);
    info.name[sizeof info.name - 1] = '\0';
    return info;
}

BackendInfo PluginBackend::info() const {
    const AbiInfo device = device_info();
    return {.name = std::string("cuda (") + device.name + ")",
            .kv_block_tokens = device.kv_block_tokens,
            .threads = 1,
            .memory_bytes = std::max<std::int64_t>(1, device.free_bytes),
            .step_tokens = kStepTokens,
            .runs_encoders = false};
}

Buffer PluginBackend::alloc(std::int64_t rows, std::int64_t cols) {
    Buffer buffer;
    call(table_.alloc, backend_, rows, cols, &buffer);
    return buffer;
}

Weight PluginBackend::upload(const WeightView& view) {
    Weight weight;
    call(table_.upload, backend_, &view, &weight);
    return weight;
}

bool PluginBackend::caches(Format format, std::int64_t head_dim) const {
    return table_.caches(backend_, format, head_dim) != 0;
}

std::int64_t PluginBackend::weight_bytes(const WeightView& view) const {
    std::int64_t bytes = 0;
    call(table_.weight_bytes, backend_, &view, &bytes);
    return bytes;
}

void PluginBackend::alloc_kv(const KvSpec& spec) { call(table_.alloc_kv, backend_, &spec); }

std::int64_t PluginBackend::kv_block_bytes() const {
    std::int64_t bytes = 0;
    call(table_.kv_block_bytes, backend_, &bytes);
    return bytes;
}

void PluginBackend::read_kv_block(std::int32_t block, std::byte* to) {
    call(table_.read_kv_block, backend_, block, to);
}

void PluginBackend::write_kv_block(std::int32_t block, const std::byte* from) {
    call(table_.write_kv_block, backend_, block, from);
}

void PluginBackend::copy_kv_block(std::int32_t from, std::int32_t to) {
    call(table_.copy_kv_block, backend_, from, to);
}

ThreadPool* PluginBackend::threads() {
    if (!threads_) threads_ = std::make_unique<ThreadPool>(n_threads_);
    return threads_.get();
}

std::shared_ptr<const Adapter> PluginBackend::make_adapter(std::span<const LowRankChange>) const {
    fail(ErrorCode::model, "backend", "LoRA adapters are not supported on this device", "cuda", "cpu");
}

void PluginBackend::begin(const Batch& batch) {
    const AbiBatch passed = {
        .tokens = batch.tokens.data(),
        .positions = batch.positions.data(),
        .row_starts = batch.row_starts.data(),
        .kv_lens = batch.kv_lens.data(),
        .block_table = batch.block_table.data(),
        .logit_rows = batch.logit_rows.data(),
        .n_tokens = static_cast<std::int64_t>(batch.tokens.size()),
        .n_sequences = static_cast<std::int64_t>(batch.kv_lens.size()),
        .block_table_stride = batch.block_table_stride,
        .n_logit_rows = static_cast<std::int64_t>(batch.logit_rows.size()),
    };
    call(table_.begin, backend_, &passed);
}

void PluginBackend::write_rows(Buffer to, std::span<const float> values) {
    call(table_.write_rows, backend_, to, values.data(), static_cast<std::int64_t>(values.size()));
}

void PluginBackend::embed(const EmbedOp& op) { call(table_.embed, backend_, &op); }

void PluginBackend::norm(const NormOp& op) { call(table_.norm, backend_, &op); }

void PluginBackend::linear(std::span<const LinearOp> ops) {
    call(table_.linear, backend_, ops.data(), static_cast<std::int64_t>(ops.size()));
}

void PluginBackend::moe(const MoeOp& op) { call(table_.moe, backend_, &op); }

void PluginBackend::rope_store(const RopeStoreOp& op) { call(table_.rope_store, backend_, &op); }

void PluginBackend::attention(const AttentionOp& op) { call(table_.attention, backend_, &op); }

void PluginBackend::gather_logit_rows(Buffer in, Buffer out) {
    call(table_.gather_logit_rows, backend_, in, out);
}

std::span<const float> PluginBackend::end(Buffer result) {
    AbiResult values = {};
    call(table_.end, backend_, result, &values);
    if (values.count < 0 || (values.count > 0 && values.values == nullptr))
        fail(ErrorCode::internal, "backend", "the device returned no values");
    return {values.values, static_cast<std::size_t>(values.count)};
}

}  // namespace llmcore
