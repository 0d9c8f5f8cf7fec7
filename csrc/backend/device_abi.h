// The border between the core and a backend in a shared library: a table of C functions over POD arguments.
// The library exports `llmcore_backend_v1`; no C++ object, exception or standard type crosses.
#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace llmcore {

constexpr std::uint32_t kBackendAbi = 0x4C430003;

// As Batch, in pointers.
struct AbiBatch {
    const std::int32_t* tokens;
    const std::int32_t* positions;
    const std::int32_t* row_starts;
    const std::int32_t* kv_lens;
    const std::int32_t* block_table;
    const std::int32_t* logit_rows;
    std::int64_t n_tokens;
    std::int64_t n_sequences;
    std::int64_t block_table_stride;
    std::int64_t n_logit_rows;
};

struct AbiInfo {
    char name[128];  // of the device
    std::int64_t kv_block_tokens;
    std::int64_t total_bytes;  // of the device's memory
    std::int64_t free_bytes;
    std::int32_t compute_capability;  // 90 for 9.0
    std::int32_t multiprocessors;
};

struct AbiResult {
    const float* values;  // host memory, valid until the next begin
    std::int64_t count;
};

// Functions return 0, or an ErrorCode plus 1; the message is then in `error`, cut to fit and ended by a zero.
struct AbiError {
    char message[512];
};

struct BackendTable {
    std::uint32_t abi;          // kBackendAbi
    std::uint32_t size;         // of this struct
    std::uint32_t op_bytes[8];  // sizes of EmbedOp, NormOp, LinearOp, MoeOp, RopeStoreOp, AttentionOp,
                                // WeightView, KvSpec
    int (*create)(std::int32_t device, void** backend, AbiError* error);
    void (*destroy)(void* backend);
    int (*info)(void* backend, AbiInfo* info, AbiError* error);
    int (*alloc)(void* backend, std::int64_t rows, std::int64_t cols, Buffer* buffer, AbiError* error);
    int (*upload)(void* backend, const WeightView* view, Weight* weight, AbiError* error);
    // 1 if alloc_kv takes that format with heads of that size, else 0.
    std::int32_t (*caches)(void* backend, Format format, std::int64_t head_dim);
    int (*weight_bytes)(void* backend, const WeightView* view, std::int64_t* bytes, AbiError* error);
    int (*alloc_kv)(void* backend, const KvSpec* spec, AbiError* error);
    int (*kv_block_bytes)(void* backend, std::int64_t* bytes, AbiError* error);
    int (*read_kv_block)(void* backend, std::int32_t block, void* to, AbiError* error);
    int (*write_kv_block)(void* backend, std::int32_t block, const void* from, AbiError* error);
    int (*copy_kv_block)(void* backend, std::int32_t from, std::int32_t to, AbiError* error);
    int (*begin)(void* backend, const AbiBatch* batch, AbiError* error);
    int (*write_rows)(void* backend, Buffer to, const float* values, std::int64_t count, AbiError* error);
    int (*embed)(void* backend, const EmbedOp* op, AbiError* error);
    int (*norm)(void* backend, const NormOp* op, AbiError* error);
    int (*linear)(void* backend, const LinearOp* ops, std::int64_t n_ops, AbiError* error);
    int (*moe)(void* backend, const MoeOp* op, AbiError* error);
    int (*rope_store)(void* backend, const RopeStoreOp* op, AbiError* error);
    int (*attention)(void* backend, const AttentionOp* op, AbiError* error);
    int (*gather_logit_rows)(void* backend, Buffer in, Buffer out, AbiError* error);
    int (*end)(void* backend, Buffer result, AbiResult* values, AbiError* error);
};

}  // namespace llmcore

extern "C" {
// The library's one export. Null where there is no usable device; `reason` then says why in one line.
typedef const llmcore::BackendTable* (*llmcore_backend_v1_function)(char* reason, std::int64_t reason_bytes);
}
