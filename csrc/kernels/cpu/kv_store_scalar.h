// The loop of the scalar kv_store kernels. `Rows` says how a cached row is written.
#pragma once

#include "kernels/cpu/cached_rows_scalar.h"
#include "kernels/cpu/paged_cache.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

template <class Rows>
bool kv_store_supports(const Shape* shape) {
    return shape->head_dim > 0 && shape->head_dim % Rows::kGroup == 0;
}

double kv_store_cost(const Shape* shape) {
    const int64_t row = 2 * shape->n_kv_heads * shape->head_dim;
    return 20 + static_cast<double>(shape->m) * (10 + 2.0 * static_cast<double>(row));
}

template <class Rows>
void kv_store_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const KvStoreArgs& args = *static_cast<const KvStoreArgs*>(base);
    const KvView& kv = args.kv;
    for (int64_t row = row_begin; row < row_end; ++row) {
        const int64_t block = args.slots[row] / kv.block_tokens;
        const int64_t offset = args.slots[row] % kv.block_tokens;
        for (int is_value = 0; is_value < 2; ++is_value) {
            const float* from = is_value ? args.v + row * args.v_stride : args.k + row * args.k_stride;
            for (int64_t head = 0; head < kv.n_kv_heads; ++head, from += kv.head_dim) {
                char* to = head_block(kv, block, head, is_value != 0) + offset * Rows::bytes(kv.head_dim);
                Rows::write(from, to, kv.head_dim);
            }
        }
    }
}

}  // namespace
}  // namespace llmcore
