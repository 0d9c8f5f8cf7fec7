// The border to a backend in a library: a table that records what comes across, and fails when told to.
#include "backend/plugin_backend.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "backend/loader.h"
#include "cache/kv_sizing.h"
#include "harness.h"

namespace {

using namespace llmcore;

struct Device {
    int created = 0;
    int destroyed = 0;
    std::vector<std::string> calls;
    int code = 0;  // what every function returns
    std::string message;
    std::vector<LinearOp> linear;
    WeightView view;
    AbiBatch batch = {};
    std::vector<float> values;
    struct {
        std::int32_t buffer;
        const float* values;
        std::int64_t count;
    } written = {};
    struct {
        std::int32_t block;
        const void* memory;
    } copied = {};
};

Device device;

int called(const char* name, AbiError* error) {
    device.calls.emplace_back(name);
    std::snprintf(error->message, sizeof error->message, "%s", device.message.c_str());
    return device.code;
}

BackendTable fake_table() {
    BackendTable table = {
        .abi = kBackendAbi,
        .size = sizeof(BackendTable),
        .op_bytes = {sizeof(EmbedOp), sizeof(NormOp), sizeof(LinearOp), sizeof(MoeOp), sizeof(RopeStoreOp),
                     sizeof(AttentionOp), sizeof(WeightView), sizeof(KvSpec)},
        .create =
            [](std::int32_t, void** backend, AbiError* error) {
                const int code = called("create", error);
                device.created += code == 0 ? 1 : 0;
                *backend = code == 0 ? &device : nullptr;
                return code;
            },
        .destroy = [](void* backend) { device.destroyed += backend == &device ? 1 : 0; },
        .info =
            [](void*, AbiInfo* info, AbiError* error) {
                std::snprintf(info->name, sizeof info->name, "a device");
                info->kv_block_tokens = 32;
                info->total_bytes = 2000;
                info->free_bytes = 1000;
                return called("info", error);
            },
        .alloc =
            [](void*, std::int64_t rows, std::int64_t cols, Buffer* buffer, AbiError* error) {
                buffer->id = static_cast<std::int32_t>(100 * rows + cols);
                return called("alloc", error);
            },
        .upload =
            [](void*, const WeightView* view, Weight* weight, AbiError* error) {
                device.view = *view;
                weight->id = 7;
                return called("upload", error);
            },
        .caches = [](void*, Format format, std::int64_t head_dim) -> std::int32_t {
            return format == Format::Q8_0 && head_dim == 64 ? 1 : 0;
        },
        .weight_bytes =
            [](void*, const WeightView* view, std::int64_t* bytes, AbiError* error) {
                *bytes = 2 * view->rows;
                return called("weight_bytes", error);
            },
        .alloc_kv = [](void*, const KvSpec*, AbiError* error) { return called("alloc_kv", error); },
        .kv_block_bytes =
            [](void*, std::int64_t* bytes, AbiError* error) {
                *bytes = 4096;
                return called("kv_block_bytes", error);
            },
        .read_kv_block =
            [](void*, std::int32_t block, void* to, AbiError* error) {
                device.copied = {block, to};
                return called("read_kv_block", error);
            },
        .write_kv_block =
            [](void*, std::int32_t block, const void* from, AbiError* error) {
                device.copied = {block, from};
                return called("write_kv_block", error);
            },
        .copy_kv_block =
            [](void*, std::int32_t from, std::int32_t to, AbiError* error) {
                device.calls.push_back(std::to_string(from) + " to " + std::to_string(to));
                return called("copy_kv_block", error);
            },
        .begin =
            [](void*, const AbiBatch* batch, AbiError* error) {
                device.batch = *batch;
                return called("begin", error);
            },
        .write_rows =
            [](void*, Buffer to, const float* values, std::int64_t count, AbiError* error) {
                device.written = {to.id, values, count};
                return called("write_rows", error);
            },
        .embed = [](void*, const EmbedOp*, AbiError* error) { return called("embed", error); },
        .norm = [](void*, const NormOp*, AbiError* error) { return called("norm", error); },
        .linear =
            [](void*, const LinearOp* ops, std::int64_t n_ops, AbiError* error) {
                device.linear.assign(ops, ops + n_ops);
                return called("linear", error);
            },
        .moe = [](void*, const MoeOp*, AbiError* error) { return called("moe", error); },
        .rope_store = [](void*, const RopeStoreOp*, AbiError* error) { return called("rope_store", error); },
        .attention = [](void*, const AttentionOp*, AbiError* error) { return called("attention", error); },
        .gather_logit_rows =
            [](void*, Buffer in, Buffer out, AbiError* error) {
                device.calls.push_back(std::to_string(in.id) + " to " + std::to_string(out.id));
                return called("gather_logit_rows", error);
            },
        .end =
            [](void*, Buffer, AbiResult* result, AbiError* error) {
                *result = {device.values.data(), static_cast<std::int64_t>(device.values.size())};
                return called("end", error);
            },
    };
    return table;
}

// The message of the Error(code) that `action` throws; "" if it throws none.
template <class Action>
std::string error_of(ErrorCode code, Action action) {
    try {
        action();
    } catch (const Error& error) {
        CHECK(error.code() == code);
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

LLMCORE_TEST(plugin_backend_makes_every_call_once) {
    device = {};
    const BackendTable table = fake_table();
    {
        PluginBackend backend(table);
        CHECK(backend.info().name == "cuda (a device)");
        CHECK(backend.info().memory_bytes == 1000);
        CHECK(backend.info().kv_block_tokens == 32);
        CHECK(backend.info().step_tokens > 0);
        CHECK(!backend.info().runs_encoders);
        CHECK(backend.caches(Format::Q8_0, 64) && !backend.caches(Format::Q8_0, 80));
        CHECK(!backend.caches(Format::F16, 64) && backend.kv_block_bytes() == 4096);
        CHECK(backend.device_info().total_bytes == 2000);
        device.calls.clear();
        CHECK(backend.alloc(3, 5).id == 305);
        CHECK(backend.upload({.rows = 11}).id == 7);
        CHECK(device.view.rows == 11);
        CHECK(backend.weight_bytes({.rows = 11}) == 22);
        backend.alloc_kv({});
        std::byte room = {};
        backend.read_kv_block(3, &room);
        CHECK(device.copied.block == 3 && device.copied.memory == &room);
        device.copied = {};
        backend.write_kv_block(4, &room);
        CHECK(device.copied.block == 4 && device.copied.memory == &room);
        backend.copy_kv_block(5, 6);
        const std::vector<float> rows = {1.0F, 2.0F};
        backend.write_rows({4}, rows);
        CHECK(device.written.buffer == 4 && device.written.values == rows.data() &&
              device.written.count == 2);
        backend.embed({});
        backend.norm({});
        backend.moe({});
        backend.rope_store({});
        backend.attention({});
        backend.gather_logit_rows({1}, {2});
        const std::vector<std::string> expected = {
            "alloc",         "upload",         "weight_bytes", "alloc_kv",
            "read_kv_block", "write_kv_block", "5 to 6",       "copy_kv_block",
            "write_rows",    "embed",          "norm",         "moe",
            "rope_store",    "attention",      "1 to 2",       "gather_logit_rows"};
        CHECK(device.calls == expected);
        std::vector<LinearOp> ops(2);
        ops[1].in = {3};
        ops[1].softcap = 2.0F;
        backend.linear(ops);
        CHECK(device.linear.size() == 2 && device.linear[1].in.id == 3 && device.linear[1].softcap == 2.0F);
        device.values = {1.0F, 2.0F, 3.0F};
        const auto values = backend.end({2});
        CHECK(values.size() == 3 && values.data() == device.values.data());
        CHECK(device.destroyed == 0);
    }
    CHECK(device.created == 1 && device.destroyed == 1);
}

LLMCORE_TEST(plugin_backend_passes_the_batch_on) {
    device = {};
    const BackendTable table = fake_table();
    PluginBackend backend(table);
    const std::vector<std::int32_t> tokens = {5, 6, 7}, positions = {0, 1, 9}, row_starts = {0, 2, 3},
                                    kv_lens = {2, 10}, block_table = {0, 0, 1, 2}, logit_rows = {1};
    backend.begin({.tokens = tokens,
                   .positions = positions,
                   .row_starts = row_starts,
                   .kv_lens = kv_lens,
                   .block_table = block_table,
                   .block_table_stride = 2,
                   .logit_rows = logit_rows});
    const AbiBatch& batch = device.batch;
    CHECK(batch.tokens == tokens.data() && batch.positions == positions.data());
    CHECK(batch.row_starts == row_starts.data() && batch.kv_lens == kv_lens.data());
    CHECK(batch.block_table == block_table.data() && batch.logit_rows == logit_rows.data());
    CHECK(batch.n_tokens == 3 && batch.n_sequences == 2);
    CHECK(batch.block_table_stride == 2 && batch.n_logit_rows == 1);
}

LLMCORE_TEST(plugin_backend_refuses_adapters) {
    device = {};
    const BackendTable table = fake_table();
    PluginBackend backend(table);
    CHECK(contains(error_of(ErrorCode::model, [&] { backend.make_adapter({}); }), "LoRA adapters"));
}

LLMCORE_TEST(plugin_backend_translates_errors) {
    device = {};
    const BackendTable table = fake_table();
    PluginBackend backend(table);
    for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
        device.code = code + 1;
        device.message = "[cuda] reason " + std::to_string(code);
        CHECK(error_of(static_cast<ErrorCode>(code), [&] { backend.norm({}); }) == device.message);
    }
    for (const int code : {-1, static_cast<int>(ErrorCode::internal) + 2}) {
        device.code = code;
        CHECK(error_of(ErrorCode::internal, [&] { backend.alloc(1, 1); }) == device.message);
    }
    device.message = "";
    CHECK(contains(error_of(ErrorCode::internal, [&] { backend.end({}); }), "code"));
    device.message = std::string(2000, 'x');
    CHECK(error_of(ErrorCode::internal, [&] { backend.end({}); }).size() == sizeof(AbiError::message) - 1);

    device.destroyed = 0;
    device.code = static_cast<int>(ErrorCode::model) + 1;
    device.message = "[cuda] no device";
    CHECK(error_of(ErrorCode::model, [&] { PluginBackend(table, 0); }) == "[cuda] no device");
    CHECK(device.destroyed == 0);
    device = {};
}

LLMCORE_TEST(plugin_backend_refuses_another_build) {
    device = {};
    BackendTable table = fake_table();
    table.abi = kBackendAbi + 1;
    CHECK(contains(error_of(ErrorCode::model, [&] { PluginBackend(table, 0); }), "abi"));
    table = fake_table();
    table.size -= 8;
    CHECK(contains(error_of(ErrorCode::model, [&] { PluginBackend(table, 0); }), "size of the table"));
    for (std::uint32_t i = 0; i < 8; ++i) {
        table = fake_table();
        table.op_bytes[i] += 1;
        CHECK(contains(error_of(ErrorCode::model, [&] { PluginBackend(table, 0); }), "operation"));
    }
    CHECK(device.calls.empty());
}

// Names a library for the loader as long as it lives.
class NamedLibrary {
public:
    explicit NamedLibrary(const char* path) { setenv("LLMCORE_CUDA_LIBRARY", path, 1); }
    ~NamedLibrary() { unsetenv("LLMCORE_CUDA_LIBRARY"); }
};

LLMCORE_TEST(loader_says_why_there_is_no_device) {
    {
        const NamedLibrary library("/nowhere/libllmcore_cuda.so");
        CHECK(
            contains(error_of(ErrorCode::model, [] { load_backend("cuda", {.threads = 1}); }), "/nowhere/"));
        const LoadedBackend chosen = load_backend("auto", {.threads = 1});
        CHECK(chosen.backend->info().name == "cpu");
        CHECK(contains(chosen.note, "/nowhere/") && !contains(chosen.note, "\n"));
        CHECK(load_backend("cpu", {.threads = 1}).note.empty());
        const CudaStatus status = cuda_status();
        CHECK(status.library == "/nowhere/libllmcore_cuda.so" && contains(status.reason, "/nowhere/"));
    }
    {
        const NamedLibrary library("libm.so.6");
        CHECK(contains(error_of(ErrorCode::model, [] { load_backend("cuda", {.threads = 1}); }),
                       "does not export"));
    }
    CHECK_THROWS(ErrorCode::invalid_argument, load_backend("gpu", {.threads = 1}));
    CHECK_THROWS(ErrorCode::invalid_argument, load_backend("auto", {.threads = -1}));
}

LLMCORE_TEST(kv_budget_of_a_device) {
    KvSizingInputs inputs{.n_ctx_train = 1000,
                          .max_batch = 4,
                          .block_tokens = 10,
                          .bytes_per_token = 1,
                          .available_bytes = 4000};
    CHECK(plan_kv(inputs).n_blocks == 100);
    inputs.budget_bytes = 3200;
    CHECK(plan_kv(inputs).n_blocks == 320);
}

}  // namespace
