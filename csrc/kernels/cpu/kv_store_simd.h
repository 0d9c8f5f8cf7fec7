// Writing keys and values into the paged cache on any Vec.
#pragma once

#include "kernels/cpu/paged_cache.h"
#include "kernels/cpu/vector.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool kv_store_supports(const Shape* shape) { return shape->head_dim > 0; }

LLMCORE_INLINE void store_cached(const float* from, float* to, int64_t n) {
    memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

LLMCORE_INLINE void store_cached(const float* from, uint16_t* to, int64_t n) {
    int64_t i = 0;
    for (; i + Vec::kLanes <= n; i += Vec::kLanes) Vec::load(from + i).store(to + i);
    if (i < n) {
        uint16_t last[Vec::kLanes];
        Vec::load_first(from + i, n - i).store(last);
        memcpy(to + i, last, static_cast<size_t>(n - i) * sizeof(uint16_t));
    }
}

template <class Stored>
void kv_store_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const KvStoreArgs& args = *static_cast<const KvStoreArgs*>(base);
    const KvView& kv = args.kv;
    for (int64_t row = row_begin; row < row_end; ++row) {
        const int64_t block = args.slots[row] / kv.block_tokens;
        const int64_t offset = args.slots[row] % kv.block_tokens * kv.head_dim;
        const float* k = args.k + row * args.k_stride;
        const float* v = args.v + row * args.v_stride;
        for (int64_t head = 0; head < kv.n_kv_heads; ++head, k += kv.head_dim, v += kv.head_dim) {
            store_cached(k, reinterpret_cast<Stored*>(head_block(kv, block, head, false)) + offset,
                         kv.head_dim);
            store_cached(v, reinterpret_cast<Stored*>(head_block(kv, block, head, true)) + offset,
                         kv.head_dim);
        }
    }
}

}  // namespace
}  // namespace llmcore
