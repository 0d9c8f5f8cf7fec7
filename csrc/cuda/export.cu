// The library's one export: the table of device_abi.h over CudaBackend.
#include <cstdio>
#include <exception>
#include <string>

#include "backend/device_abi.h"
#include "base/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/stream.h"

namespace llmcore::cuda {

namespace {

// Runs `body` and turns what it throws into a code and a message.
template <class Body>
int guarded(AbiError* error, Body body) {
    try {
        body();
        return 0;
    } catch (const Error& caught) {
        std::snprintf(error->message, sizeof error->message, "%s", caught.what());
        return static_cast<int>(caught.code()) + 1;
    } catch (const std::exception& caught) {
        std::snprintf(error->message, sizeof error->message, "[cuda] %s", caught.what());
        return static_cast<int>(ErrorCode::internal) + 1;
    }
}

CudaBackend& of(void* backend) { return *static_cast<CudaBackend*>(backend); }

template <class Op>
int note(void* backend, const Op* op, AbiError* error) {
    return guarded(error, [&] { of(backend).note(*op); });
}

int linear(void* backend, const LinearOp* ops, std::int64_t n_ops, AbiError* error) {
    return guarded(error, [&] { of(backend).note(LinearGroup{{ops, ops + n_ops}}); });
}

constexpr BackendTable kTable = {
    .abi = kBackendAbi,
    .size = sizeof(BackendTable),
    .op_bytes = {sizeof(EmbedOp), sizeof(NormOp), sizeof(LinearOp), sizeof(MoeOp), sizeof(RopeStoreOp),
                 sizeof(AttentionOp), sizeof(WeightView), sizeof(KvSpec)},
    .create = [](std::int32_t device, void** backend,
                 AbiError* error) { return guarded(error, [&] { *backend = new CudaBackend(device); }); },
    .destroy = [](void* backend) { delete static_cast<CudaBackend*>(backend); },
    .info = [](void* backend, AbiInfo* info,
               AbiError* error) { return guarded(error, [&] { of(backend).info(*info); }); },
    .alloc = [](void* backend, std::int64_t rows, std::int64_t cols, Buffer* buffer,
                AbiError* error) { return guarded(error, [&] { *buffer = of(backend).alloc(rows, cols); }); },
    .upload = [](void* backend, const WeightView* view, Weight* weight,
                 AbiError* error) { return guarded(error, [&] { *weight = of(backend).upload(*view); }); },
    .caches = [](void*, Format format, std::int64_t head_dim) -> std::int32_t {
        return CudaBackend::caches(format, head_dim) ? 1 : 0;
    },
    .weight_bytes =
        [](void* backend, const WeightView* view, std::int64_t* bytes, AbiError* error) {
            return guarded(error, [&] { *bytes = of(backend).weight_bytes(*view); });
        },
    .alloc_kv = [](void* backend, const KvSpec* spec,
                   AbiError* error) { return guarded(error, [&] { of(backend).alloc_kv(*spec); }); },
    .kv_block_bytes =
        [](void* backend, std::int64_t* bytes, AbiError* error) {
            return guarded(error, [&] { *bytes = of(backend).kv_block_bytes(); });
        },
    .read_kv_block =
        [](void* backend, std::int32_t block, void* to, AbiError* error) {
            return guarded(error, [&] { of(backend).read_kv_block(block, static_cast<std::byte*>(to)); });
        },
    .write_kv_block =
        [](void* backend, std::int32_t block, const void* from, AbiError* error) {
            return guarded(error,
                           [&] { of(backend).write_kv_block(block, static_cast<const std::byte*>(from)); });
        },
    .copy_kv_block =
        [](void* backend, std::int32_t from, std::int32_t to, AbiError* error) {
            return guarded(error, [&] { of(backend).copy_kv_block(from, to); });
        },
    .begin = [](void* backend, const AbiBatch* batch,
                AbiError* error) { return guarded(error, [&] { of(backend).begin(*batch); }); },
    .write_rows =
        [](void* backend, Buffer to, const float* values, std::int64_t count, AbiError* error) {
            return guarded(error, [&] { of(backend).write_rows(to, values, count); });
        },
    .embed = &note<EmbedOp>,
    .norm = &note<NormOp>,
    .linear = &linear,
    .moe = &note<MoeOp>,
    .rope_store = &note<RopeStoreOp>,
    .attention = &note<AttentionOp>,
    .gather_logit_rows =
        [](void* backend, Buffer in, Buffer out, AbiError* error) {
            return guarded(error, [&] { of(backend).note(GatherOp{in, out}); });
        },
    .end =
        [](void* backend, Buffer result, AbiResult* values, AbiError* error) {
            return guarded(error, [&] {
                const std::span<const float> span = of(backend).end(result);
                *values = {span.data(), static_cast<std::int64_t>(span.size())};
            });
        },
};

}  // namespace

}  // namespace llmcore::cuda

extern "C" __attribute__((visibility("default"))) const llmcore::BackendTable* llmcore_backend_v1(
    char* reason, std::int64_t reason_bytes) {
    const std::string why = llmcore::cuda::why_no_device();
    if (why.empty()) return &llmcore::cuda::kTable;
    std::snprintf(reason, static_cast<std::size_t>(reason_bytes), "%s", why.c_str());
    return nullptr;
}
