// Attention over the paged cache on any Vec: tiles of keys, softmax with a running maximum (Milakov and
// Gimelshein 2018; Dao et al. 2022). All query heads of a KV head, and several tokens of a sequence, share
// what is read.
#pragma once

#include "kernels/cpu/cached_rows.h"
#include "kernels/cpu/paged_cache.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int kMaxKeyTile = 64;
constexpr int kMaxQueries = 16;  // a query: one head of one token
// Stands for minus infinity where two of them would be subtracted.
constexpr float kNothingSeen = -1e30f;

template <class Rows>
bool attention_supports(const Shape* shape) {
    return is_grouped(shape) && shape->head_dim % Vec::kLanes == 0 && shape->head_dim % Rows::kGroup == 0;
}

// Keys a tile: keys, values and the next tile's keys fit in L1 together.
template <class Rows>
int key_tile_of(int64_t dim) {
    return !Rows::kExpands && Rows::bytes(dim) < 256 ? kMaxKeyTile : kMaxKeyTile / 2;
}

template <class Rows>
size_t attention_workspace(const Shape* shape) {
    const auto dim = static_cast<size_t>(shape->head_dim);
    const size_t expanded = Rows::kExpands ? static_cast<size_t>(key_tile_of<Rows>(shape->head_dim)) : 0;
    return sizeof(float) * (kMaxQueries * (2 * dim + kMaxKeyTile) + expanded * dim);
}

// The queries that pass over the keys together.
struct Queries {
    const AttentionArgs* args;
    int64_t kv_head;
    int count;
    int64_t dim;
    int key_tile;     // keys a tile: 32 or 64
    float* scaled;    // [count][dim]: queries times the scale
    float* sums;      // [count][dim]: weighted values so far
    float* weights;   // [count][kMaxKeyTile]: scores of a tile, then their exponentials
    float* expanded;  // [key_tile][dim]: a tile's keys, then its values, where these are read as floats
    SeenRange seen[kMaxQueries];
    SeenRange all;  // what any of them sees
    float maximum[kMaxQueries];
    float denominator[kMaxQueries];
    float shrink[kMaxQueries];  // what the last tile's new maximum makes of the earlier sums
};

// Keys and values of consecutive positions, wherever their blocks lie. Past `count` the last one repeats.
struct Tile {
    int64_t begin;
    int count;
    const char* keys[kMaxKeyTile];
    const char* values[kMaxKeyTile];
};

template <class Rows>
void find_tile(const Queries& queries, const int32_t* blocks, int64_t begin, Tile& tile) {
    const KvView& kv = queries.args->kv;
    const int64_t row_bytes = Rows::bytes(kv.head_dim);
    tile.begin = begin;
    tile.count = static_cast<int>(queries.all.end - begin < queries.key_tile ? queries.all.end - begin
                                                                             : queries.key_tile);
    for (int i = 0; i < tile.count;) {
        const int64_t offset = (begin + i) % kv.block_tokens;
        const int64_t block = blocks[(begin + i) / kv.block_tokens];
        const char* keys = head_block(kv, block, queries.kv_head, false);
        const char* values = head_block(kv, block, queries.kv_head, true);
        for (int64_t j = offset; j < kv.block_tokens && i < tile.count; ++j, ++i) {
            tile.keys[i] = keys + j * row_bytes;
            tile.values[i] = values + j * row_bytes;
        }
    }
    for (int i = tile.count; i < queries.key_tile; ++i) {
        tile.keys[i] = tile.keys[tile.count - 1];
        tile.values[i] = tile.values[tile.count - 1];
    }
}

LLMCORE_INLINE void prefetch_row(const char* row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
}

// Scores of N queries with `count` keys, four keys at a time; asks for the rows of `ahead` (may be null) on
// the way. Not inlined: its pointers need all registers.
template <int N, class Rows>
LLMCORE_NOINLINE void score(const Queries& queries, int first, const char* const* rows, int count,
                            const char* const* ahead) {
    const int64_t dim = queries.dim;
    const float* q = queries.scaled + first * dim;
    for (int key = 0; key < count; key += 4) {
        if (ahead != nullptr) {
            for (int i = 0; i < 4; ++i) prefetch_row(ahead[key + i], Rows::bytes(dim));
        }
        const char* keys[4] = {rows[key], rows[key + 1], rows[key + 2], rows[key + 3]};
        Vec sums[N][4];
        unrolled<0, N * 4>(
            [&](auto i) __attribute__((always_inline)) { sums[i.value / 4][i.value % 4] = Vec::set(0); });
        for (int64_t d = 0; d < dim; d += Vec::kLanes) {
            Vec k[4];
            unrolled<0, 4>([&](auto i)
                               __attribute__((always_inline)) { k[i.value] = Rows::load(keys[i.value], d); });
            unrolled<0, N>([&](auto n) __attribute__((always_inline)) {
                const Vec query = Vec::load(q + n.value * dim + d);
                unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
                    sums[n.value][i.value] = fma(query, k[i.value], sums[n.value][i.value]);
                });
            });
        }
        unrolled<0, N>([&](auto n) __attribute__((always_inline)) {
            float* out = queries.weights + (first + n.value) * kMaxKeyTile + key;
            store_sums(sums[n.value][0], sums[n.value][1], sums[n.value][2], sums[n.value][3], out);
        });
    }
}

// Turns a query's scores into exponentials, and its maximum and denominator into those after this tile.
LLMCORE_INLINE void weigh(Queries& queries, int query, int64_t tile_begin, int tile_count) {
    float* scores = queries.weights + query * kMaxKeyTile;
    const float cap = queries.args->softcap;
    if (cap > 0) {
        const Vec up = Vec::set(cap), down = Vec::set(1 / cap);
        for (int i = 0; i < tile_count; i += Vec::kLanes) {
            (up * hyperbolic_tangent(Vec::load(scores + i) * down)).store(scores + i);
        }
    }
    const SeenRange seen = queries.seen[query];
    const int64_t begin = seen.begin - tile_begin;
    const int64_t end = seen.end - tile_begin;
    for (int64_t i = 0; i < begin && i < tile_count; ++i) scores[i] = -HUGE_VALF;
    for (int64_t i = end < 0 ? 0 : end; i < queries.key_tile; ++i) scores[i] = -HUGE_VALF;

    Vec largest = Vec::set(queries.maximum[query]);
    for (int i = 0; i < queries.key_tile; i += Vec::kLanes) largest = max(largest, Vec::load(scores + i));
    const float maximum = largest.maximum();
    Vec total = Vec::set(0);
    for (int i = 0; i < queries.key_tile; i += Vec::kLanes) {
        const Vec weight = exponential(Vec::load(scores + i) - Vec::set(maximum));
        weight.store(scores + i);
        total = total + weight;
    }
    const float shrink = maximum == queries.maximum[query] ? 1 : expf(queries.maximum[query] - maximum);
    queries.maximum[query] = maximum;
    queries.denominator[query] = queries.denominator[query] * shrink + total.sum();
    queries.shrink[query] = shrink;
}

// Adds `count` weighted values to the sums of N queries, C vectors of a head from `d` on; asks for the same
// part of the rows of `ahead` on the way.
template <int N, int C, class Rows>
LLMCORE_NOINLINE void add_value_chunk(const Queries& queries, int first, const char* const* rows, int count,
                                      int64_t d, const char* const* ahead) {
    constexpr int L = Vec::kLanes;
    constexpr int kLines = static_cast<int>((Rows::bytes(C * L) + 63) / 64);
    const int64_t dim = queries.dim;
    float* out = queries.sums + first * dim + d;
    const float* weights = queries.weights + first * kMaxKeyTile;
    Vec sums[N][C];
    unrolled<0, N * C>([&](auto i) __attribute__((always_inline)) {
        constexpr int kN = i.value / C, kC = i.value % C;
        sums[kN][kC] = Vec::load(out + kN * dim + kC * L) * Vec::set(queries.shrink[first + kN]);
    });
    for (int key = 0; key < count; ++key) {
        const char* next = ahead[key] + Rows::bytes(d);
        unrolled<0, kLines>([&](auto i)
                                __attribute__((always_inline)) { __builtin_prefetch(next + 64 * i.value); });
        const char* value = rows[key];
        Vec v[C];
        unrolled<0, C>(
            [&](auto c) __attribute__((always_inline)) { v[c.value] = Rows::load(value, d + c.value * L); });
        unrolled<0, N>([&](auto n) __attribute__((always_inline)) {
            const Vec weight = Vec::set(weights[n.value * kMaxKeyTile + key]);
            unrolled<0, C>([&](auto c) __attribute__((always_inline)) {
                sums[n.value][c.value] = fma(weight, v[c.value], sums[n.value][c.value]);
            });
        });
    }
    unrolled<0, N * C>([&](auto i) __attribute__((always_inline)) {
        sums[i.value / C][i.value % C].store(out + i.value / C * dim + i.value % C * L);
    });
}

template <int N, class Rows>
void add_values(const Queries& queries, int first, const char* const* rows, int count,
                const char* const* ahead) {
    int64_t d = 0;
    for (; d + 4 * Vec::kLanes <= queries.dim; d += 4 * Vec::kLanes) {
        add_value_chunk<N, 4, Rows>(queries, first, rows, count, d, ahead);
    }
    for (; d < queries.dim; d += Vec::kLanes)
        add_value_chunk<N, 1, Rows>(queries, first, rows, count, d, ahead);
}

// Rows past `count` are those of the last one, in either case.
template <class Rows>
void score_all(const Queries& queries, const char* const* keys, int count, const char* const* ahead) {
    constexpr int N = Vec::kQueryTile;
    int query = 0;
    for (; query + N <= queries.count; query += N)
        score<N, Rows>(queries, query, keys, count, query == 0 ? ahead : nullptr);
    for (; query < queries.count; ++query)
        score<1, Rows>(queries, query, keys, count, query == 0 ? ahead : nullptr);
}

// What is in cache already may stand for `ahead`: no harm.
template <class Rows>
void add_all(const Queries& queries, const char* const* values, int count, const char* const* ahead) {
    constexpr int N = Vec::kQueryTile;
    int query = 0;
    for (; query + N <= queries.count; query += N)
        add_values<N, Rows>(queries, query, values, count, query == 0 ? ahead : values);
    for (; query < queries.count; ++query)
        add_values<1, Rows>(queries, query, values, count, query == 0 ? ahead : values);
}

// Rows as floats: decoded once for all queries.
template <class Rows>
LLMCORE_NOINLINE void expand_rows(const Queries& queries, const char* const* rows, int count,
                                  const char* const* ahead, const char** expanded) {
    for (int i = 0; i < count; ++i) {
        if (ahead != nullptr) prefetch_row(ahead[i], Rows::bytes(queries.dim));
        float* to = queries.expanded + i * queries.dim;
        Rows::expand(rows[i], to, queries.dim);
        expanded[i] = reinterpret_cast<const char*>(to);
    }
    for (int i = count; i < queries.key_tile; ++i) expanded[i] = expanded[count - 1];
}

template <class Rows>
void pass_tile(Queries& queries, const Tile& tile, const Tile* next) {
    const auto weigh_all = [&] {
        for (int query = 0; query < queries.count; ++query) weigh(queries, query, tile.begin, tile.count);
    };
    if constexpr (Rows::kExpands) {
        const char* rows[kMaxKeyTile];
        expand_rows<Rows>(queries, tile.keys, tile.count, tile.values, rows);
        score_all<F32Rows>(queries, rows, tile.count, nullptr);
        weigh_all();
        expand_rows<Rows>(queries, tile.values, tile.count, next != nullptr ? next->keys : nullptr, rows);
        add_all<F32Rows>(queries, rows, tile.count, rows);
    } else {
        score_all<Rows>(queries, tile.keys, tile.count, tile.values);
        weigh_all();
        add_all<Rows>(queries, tile.values, tile.count, next != nullptr ? next->keys : tile.values);
    }
}

// Heads [head, head + heads) of tokens [token, token + tokens), at most kMaxQueries, token by token.
void open_queries(Queries& queries, int64_t token, int64_t tokens, int64_t head, int64_t heads) {
    const AttentionArgs& args = *queries.args;
    const Vec scale = Vec::set(args.scale);
    queries.all = seen_range(args, token);
    queries.count = 0;
    for (int64_t t = token; t < token + tokens; ++t) {
        const SeenRange seen = seen_range(args, t);
        if (seen.begin < queries.all.begin) queries.all.begin = seen.begin;
        if (seen.end > queries.all.end) queries.all.end = seen.end;
        for (int64_t h = head; h < head + heads; ++h) {
            const int i = queries.count++;
            const float* q = args.q + t * args.q_stride + h * queries.dim;
            for (int64_t d = 0; d < queries.dim; d += Vec::kLanes) {
                (Vec::load(q + d) * scale).store(queries.scaled + i * queries.dim + d);
                Vec::set(0).store(queries.sums + i * queries.dim + d);
            }
            const float sink = args.sinks != nullptr ? args.sinks[h] : -HUGE_VALF;
            queries.seen[i] = seen;
            queries.maximum[i] = sink > kNothingSeen ? sink : kNothingSeen;
            queries.denominator[i] = expf(sink - queries.maximum[i]);
        }
    }
}

void close_queries(const Queries& queries, int64_t token, int64_t tokens, int64_t head, int64_t heads) {
    const AttentionArgs& args = *queries.args;
    int i = 0;
    for (int64_t t = token; t < token + tokens; ++t) {
        for (int64_t h = head; h < head + heads; ++h, ++i) {
            const float denominator = queries.denominator[i];
            const Vec factor = Vec::set(denominator == 0 ? 0 : 1 / denominator);  // nothing seen: zeros
            float* out = args.out + t * args.out_stride + h * queries.dim;
            for (int64_t d = 0; d < queries.dim; d += Vec::kLanes) {
                (Vec::load(queries.sums + i * queries.dim + d) * factor).store(out + d);
            }
        }
    }
}

template <class Rows>
void attend(Queries& queries, int64_t token, int64_t tokens, int64_t head, int64_t heads) {
    const AttentionArgs& args = *queries.args;
    const int32_t* blocks = args.block_table + args.token_sequence[token] * args.block_table_stride;
    open_queries(queries, token, tokens, head, heads);
    Tile tiles[2];
    int current = 0;
    int64_t position = queries.all.begin;
    if (position < queries.all.end) find_tile<Rows>(queries, blocks, position, tiles[0]);
    while (position < queries.all.end) {
        position += tiles[current].count;
        const bool more = position < queries.all.end;
        if (more) find_tile<Rows>(queries, blocks, position, tiles[1 - current]);
        pass_tile<Rows>(queries, tiles[current], more ? &tiles[1 - current] : nullptr);
        current = 1 - current;
    }
    close_queries(queries, token, tokens, head, heads);
}

template <class Rows>
void attention_run(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const AttentionArgs& args = *static_cast<const AttentionArgs*>(base);
    const int64_t group = args.n_heads / args.kv.n_kv_heads;
    const int64_t most = group < kMaxQueries ? kMaxQueries / group : 1;  // tokens at a time
    Queries queries;
    queries.args = &args;
    queries.dim = args.kv.head_dim;
    queries.key_tile = key_tile_of<Rows>(queries.dim);
    queries.scaled = static_cast<float*>(workspace);
    queries.sums = queries.scaled + kMaxQueries * queries.dim;
    queries.weights = queries.sums + kMaxQueries * queries.dim;
    queries.expanded = queries.weights + kMaxQueries * kMaxKeyTile;
    for (int64_t item = row_begin; item < row_end;) {
        const int64_t token = item % args.n_tokens;
        queries.kv_head = item / args.n_tokens;
        int64_t tokens = 1;
        while (tokens < most && item + tokens < row_end && token + tokens < args.n_tokens &&
               args.token_sequence[token + tokens] == args.token_sequence[token]) {
            ++tokens;
        }
        for (int64_t head = 0; head < group; head += kMaxQueries) {
            const int64_t heads = group - head < kMaxQueries ? group - head : kMaxQueries;
            attend<Rows>(queries, token, tokens, queries.kv_head * group + head, heads);
        }
        item += tokens;
    }
}

}  // namespace
}  // namespace llmcore
