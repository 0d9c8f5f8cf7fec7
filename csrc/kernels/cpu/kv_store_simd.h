// Writing keys and values into the paged cache on any Vec.
#pragma once

#include "kernels/cpu/cached_rows.h"
#include "kernels/cpu/paged_cache.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

template <class Rows>
bool kv_store_supports(const Shape* shape) {
    return shape->head_dim > 0 && shape->head_dim % Rows::kGroup == 0;
}

template <class Rows>
void kv_store_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const KvStoreArgs& args = *static_cast<const KvStoreArgs*>(base);
    const KvView& kv = args.kv;
    for (int64_t row = row_begin; row < row_end; ++row) {
        const int64_t block = args.slots[row] / kv.block_tokens;
        const int64_t offset = args.slots[row] % kv.block_tokens * Rows::bytes(kv.head_dim);
        const float* k = args.k + row * args.k_stride;
        const float* v = args.v + row * args.v_stride;
        for (int64_t head = 0; head < kv.n_kv_heads; ++head, k += kv.head_dim, v += kv.head_dim) {
            Rows::write(k, head_block(kv, block, head, false) + offset, kv.head_dim);
            Rows::write(v, head_block(kv, block, head, true) + offset, kv.head_dim);
        }
    }
}

}  // namespace
}  // namespace llmcore
