// Where keys and values lie in the paged cache, and what a token sees of them. POD only.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

// The keys (is_value: the values) of one head in one block: block_tokens rows of head_dim.
inline char* head_block(const KvView& kv, int64_t block, int64_t kv_head, bool is_value) {
    const int64_t part = (is_value ? kv.n_kv_heads : 0) + kv_head;
    return static_cast<char*>(kv.base) + block * kv.block_bytes + part * kv.head_block_bytes;
}

struct SeenRange {
    int64_t begin, end;  // cached positions
};

inline SeenRange seen_range(const AttentionArgs& args, int64_t token) {
    const int64_t end =
        args.causal ? int64_t{args.positions[token]} + 1 : args.kv_lens[args.token_sequence[token]];
    const int64_t begin = args.window > 0 && end > args.window ? end - args.window : 0;
    return {begin, end};
}

// What every attention kernel needs of a shape: whole groups of query heads.
inline bool is_grouped(const Shape* shape) {
    return shape->head_dim > 0 && shape->n_kv_heads > 0 && shape->n_heads > 0 &&
           shape->n_heads % shape->n_kv_heads == 0;
}

}  // namespace
}  // namespace llmcore
