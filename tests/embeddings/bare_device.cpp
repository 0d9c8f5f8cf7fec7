// A device's library that only says what it is: enough to see what the engine asks of it before a model.
#include <cstdio>
#include <iterator>

#include "backend/device_abi.h"

namespace {

using namespace llmcore;

int create(std::int32_t, void** backend, AbiError*) {
    *backend = nullptr;
    return 0;
}

int info(void*, AbiInfo* told, AbiError*) {
    std::snprintf(told->name, sizeof told->name, "bare");
    told->kv_block_tokens = 32;
    told->total_bytes = told->free_bytes = std::int64_t{1} << 30;
    return 0;
}

constexpr BackendTable kTable = {
    .abi = kBackendAbi,
    .size = sizeof(BackendTable),
    .op_bytes = {sizeof(EmbedOp), sizeof(NormOp), sizeof(LinearOp), sizeof(MoeOp), sizeof(RopeStoreOp),
                 sizeof(AttentionOp), sizeof(WeightView), sizeof(KvSpec)},
    .create = create,
    .destroy = [](void*) {},
    .info = info,
    .caches = [](void*, Format, std::int64_t) -> std::int32_t { return 1; },
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const BackendTable* llmcore_backend_v1(char*,
                                                                                         std::int64_t) {
    return &kTable;
}
