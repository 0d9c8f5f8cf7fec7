// What the attention kernels share: the range a row sees, the split of it, and the merge of partial sums.
// Scores are in base 2: a weight is exp2(score - maximum).
#pragma once

#include <math.h>

#include <algorithm>

#include "cuda/kernels/attention.h"

namespace llmcore::cuda {

constexpr int kQueries = 8;  // query heads of one kv head that a CTA of attention_decode does together
constexpr int kCounters = 16384;
constexpr float kLog2E = 1.44269504088896340736F;

SIMT_BOTH int query_parts(int n_heads, int n_kv_heads) {
    return (n_heads / n_kv_heads + kQueries - 1) / kQueries;
}

#if defined(__CUDACC__)
SIMT_DEVICE uint32_t pack_halves(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}
SIMT_DEVICE float2 unpack_halves(uint32_t pair) {
    return __half22float2(*reinterpret_cast<const __half2*>(&pair));
}
#else
SIMT_DEVICE uint32_t pack_halves(float low, float high) {
    return static_cast<uint32_t>(float_to_half_bits(low)) | static_cast<uint32_t>(float_to_half_bits(high))
                                                                << 16;
}
SIMT_DEVICE float2 unpack_halves(uint32_t pair) {
    return make_float2(half_to_float(static_cast<uint16_t>(pair)),
                       half_to_float(static_cast<uint16_t>(pair >> 16)));
}
#endif

// q is multiplied by query_factor() before its products, capped() makes a product a score.
SIMT_DEVICE float query_factor(const AttentionStepArgs& args) {
    return args.softcap > 0 ? args.scale / args.softcap : args.scale * kLog2E;
}
SIMT_DEVICE float capped(const AttentionStepArgs& args, float product) {
    return args.softcap > 0 ? args.softcap * kLog2E * tanhf(product) : product;
}

// exp2(score - maximum), where both may be minus infinity: masked.
SIMT_DEVICE float weight_of(float score, float maximum) {
    return score == -INFINITY ? 0.0F : exp2f(score - maximum);
}

struct SeenTokens {
    int begin, end;
};

SIMT_DEVICE SeenTokens seen_tokens(const AttentionStepArgs& args, int row, int sequence) {
    const int end = args.causal ? args.step.positions[row] + 1 : args.step.kv_lens[sequence];
    return {args.window > 0 ? max(0, end - args.window) : 0, end};
}

// Elements from a layer's base to the first key of a head's block.
SIMT_DEVICE int64_t head_block(const KvLayer& kv, int block, int kv_head) {
    return (static_cast<int64_t>(block) * 2 * kv.n_kv_heads + kv_head) * kKvBlockTokens * kv.head_dim;
}
// From a key to its value.
SIMT_DEVICE int64_t value_offset(const KvLayer& kv) {
    return static_cast<int64_t>(kv.n_kv_heads) * kKvBlockTokens * kv.head_dim;
}

// What a CTA of attention_decode does: tokens [begin, end) for queries first_head + [0, n_queries) of a row.
struct DecodeWork {
    int row;
    int kv_head;
    int first_head;
    int n_queries;
    int begin, end;
    int split;
    int n_active;  // splits that have tokens; at least 1
    const int32_t* blocks;
    int counter;            // of those in the workspace
    int64_t first_partial;  // where the splits' partial sums are, in heads times splits
};

// Sets which tokens split `split` has. False: none.
SIMT_DEVICE bool split_tokens(const AttentionStepArgs& args, const SeenTokens& seen, int split,
                              DecodeWork& work) {
    const int first_block = seen.begin / kKvBlockTokens;
    const int n_blocks =
        seen.end > seen.begin ? (seen.end + kKvBlockTokens - 1) / kKvBlockTokens - first_block : 0;
    const int blocks_a_split = max(1, (n_blocks + args.n_splits - 1) / args.n_splits);
    work.split = split;
    work.n_active = max(1, (n_blocks + blocks_a_split - 1) / blocks_a_split);
    const int block = first_block + work.split * blocks_a_split;
    work.begin = max(seen.begin, block * kKvBlockTokens);
    work.end = min(seen.end, (block + blocks_a_split) * kKvBlockTokens);
    return work.split < work.n_active;
}

// False: nothing to do.
SIMT_DEVICE bool find_decode_work(const AttentionStepArgs& args, DecodeWork& work) {
    if (args.tiles != nullptr) {
        const int4 tile = args.tiles[blockIdx.x / kPrefillRows];
        const int in_tile = static_cast<int>(blockIdx.x % kPrefillRows);
        if (in_tile >= tile.z) return false;
        work.row = tile.y + in_tile;
    } else {
        work.row = args.rows != nullptr ? args.rows[blockIdx.x] : static_cast<int>(blockIdx.x);
    }
    const int sequence = args.step.row_sequences[work.row];
    const SeenTokens seen = seen_tokens(args, work.row, sequence);
    work.blocks = args.step.block_table + static_cast<int64_t>(sequence) * args.step.block_table_stride;

    const int group = args.n_heads / args.kv.n_kv_heads;
    const int parts = query_parts(args.n_heads, args.kv.n_kv_heads);
    work.kv_head = static_cast<int>(blockIdx.y) / parts;
    const int first_query = static_cast<int>(blockIdx.y) % parts * kQueries;
    work.first_head = work.kv_head * group + first_query;
    work.n_queries = min(kQueries, group - first_query);

    work.counter = static_cast<int>(blockIdx.x * gridDim.y + blockIdx.y);
    work.first_partial = static_cast<int64_t>(blockIdx.x) * args.n_heads + work.first_head;
    return split_tokens(args, seen, static_cast<int>(blockIdx.z), work);
}

// Floats of shared memory that a CTA's warps leave their results in, and that finish_decode() works in.
struct DecodeShared {
    float* maxima;        // [warp][kQueries]
    float* denominators;  // [warp][kQueries]
    float* weights;       // [warp][kQueries]
    float* sums;          // [warp][n_queries][head_dim], zeros where the warp had no tokens
};
// Of a CTA: where there are more CTAs than multiprocessors, half as many warps, so that two CTAs fit on each.
inline int decode_warps(const AttentionStepArgs& args, const LaunchShape& shape, int most) {
    const int64_t ctas = int64_t{shape.grid_x} * shape.grid_y * shape.grid_z;
    return ctas > args.multiprocessors ? std::min(most, 4) : most;
}
SIMT_BOTH int decode_shared_floats(int n_warps, int n_queries, int head_dim) {
    const int merge = 3 * kMaximumSplits * kQueries;
    const int sums = n_warps * n_queries * head_dim;
    return 3 * n_warps * kQueries + (sums > merge ? sums : merge);
}
SIMT_DEVICE DecodeShared decode_shared(float* memory, int n_warps) {
    const int stride = n_warps * kQueries;
    return {memory, memory + stride, memory + 2 * stride, memory + 3 * stride};
}

// Sets weights[part][query] to what the part's sums are multiplied by, for parts of which each has its own
// maximum.
SIMT_DEVICE void weigh_parts(const float* maxima, float* weights, int n_parts) {
    for (int i = static_cast<int>(threadIdx.x); i < n_parts * kQueries; i += static_cast<int>(blockDim.x)) {
        const int query = i % kQueries;
        float maximum = -INFINITY;
        for (int part = 0; part < n_parts; ++part) maximum = fmaxf(maximum, maxima[part * kQueries + query]);
        weights[i] = weight_of(maxima[i], maximum);
    }
}

struct Merged {
    float maximum, denominator, sum;
};
// `sums` + part * part_stride is the part's sum for one dimension.
SIMT_DEVICE Merged merge_parts(const float* maxima, const float* denominators, const float* weights,
                               int n_parts, int query, const float* sums, int64_t part_stride) {
    Merged merged = {-INFINITY, 0.0F, 0.0F};
#pragma unroll 8
    for (int part = 0; part < n_parts; ++part) {
        const int i = part * kQueries + query;
        merged.maximum = fmaxf(merged.maximum, maxima[i]);
        merged.denominator += weights[i] * denominators[i];
        merged.sum += weights[i] * sums[part * part_stride];
    }
    return merged;
}

SIMT_DEVICE void write_attention(const AttentionStepArgs& args, const DecodeWork& work, int query, int dim,
                                 Merged merged) {
    const int head = work.first_head + query;
    if (args.sinks != nullptr) {
        const float sink = args.sinks[head] * kLog2E;
        const float maximum = fmaxf(merged.maximum, sink);
        const float shrink = weight_of(merged.maximum, maximum);
        merged.denominator = merged.denominator * shrink + exp2f(sink - maximum);
        merged.sum *= shrink;
    }
    args.out[work.row * args.out_stride + static_cast<int64_t>(head) * args.kv.head_dim + dim] =
        merged.denominator > 0 ? merged.sum / merged.denominator : 0.0F;
}

// Merges the warps' results; where there are several splits, the CTA that comes last merges those.
SIMT_DEVICE void finish_decode(const AttentionStepArgs& args, const DecodeWork& work,
                               const DecodeShared& shared) {
    const int n_warps = static_cast<int>(blockDim.x) / kWarp;
    const int head_dim = args.kv.head_dim;
    const int n_values = work.n_queries * head_dim;
    const int thread = static_cast<int>(threadIdx.x);
    const int n_threads = static_cast<int>(blockDim.x);
    __syncthreads();
    weigh_parts(shared.maxima, shared.weights, n_warps);
    __syncthreads();

    if (work.n_active == 1) {
        for (int i = thread; i < n_values; i += n_threads) {
            const int query = i / head_dim;
            write_attention(args, work, query, i % head_dim,
                            merge_parts(shared.maxima, shared.denominators, shared.weights, n_warps, query,
                                        shared.sums + i, n_values));
        }
        return;
    }

    // The workspace: counters, then [row][head of a CTA][split]: maxima, denominators, sums of the CTA's
    // queries.
    uint32_t* counter = static_cast<uint32_t*>(args.workspace) + work.counter;
    const int partial_floats = work.n_queries * (2 + head_dim);
    float* partials = reinterpret_cast<float*>(static_cast<uint32_t*>(args.workspace) + kCounters) +
                      work.first_partial * args.n_splits * (2 + head_dim);
    float* own = partials + work.split * partial_floats;
    for (int i = thread; i < n_values; i += n_threads) {
        const int query = i / head_dim;
        const Merged merged = merge_parts(shared.maxima, shared.denominators, shared.weights, n_warps, query,
                                          shared.sums + i, n_values);
        if (i % head_dim == 0) {
            own[query] = merged.maximum;
            own[work.n_queries + query] = merged.denominator;
        }
        own[2 * work.n_queries + i] = merged.sum;
    }
    __threadfence();
    __syncthreads();
    auto* is_last = reinterpret_cast<uint32_t*>(shared.weights);
    if (thread == 0) {
        *is_last = atomicAdd(counter, 1U) == static_cast<uint32_t>(work.n_active - 1) ? 1U : 0U;
        if (*is_last != 0) *counter = 0;  // for the next launch
        __threadfence();
    }
    __syncthreads();
    if (*is_last == 0) return;

    float* maxima = shared.sums;
    float* denominators = maxima + kMaximumSplits * kQueries;
    float* weights = denominators + kMaximumSplits * kQueries;
    for (int i = thread; i < work.n_active * kQueries; i += n_threads) {
        const int query = i % kQueries;
        const float* partial = partials + i / kQueries * partial_floats;
        const bool is_used = query < work.n_queries;
        maxima[i] = is_used ? partial[query] : -INFINITY;
        denominators[i] = is_used ? partial[work.n_queries + query] : 0.0F;
    }
    __syncthreads();
    weigh_parts(maxima, weights, work.n_active);
    __syncthreads();
    for (int i = thread; i < n_values; i += n_threads) {
        const int query = i / head_dim;
        write_attention(args, work, query, i % head_dim,
                        merge_parts(maxima, denominators, weights, work.n_active, query,
                                    partials + 2 * work.n_queries + i, partial_floats));
    }
}

}  // namespace llmcore::cuda
