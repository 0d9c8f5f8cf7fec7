// The attention phase of a program: a block takes up to kProgramQueries query heads of a kv head and a split
// of the tokens; the one that has the newest token stores its key and value first. F16 caches, float
// arithmetic.
#pragma once

#include "cuda/kernels/attention_device.h"
#include "cuda/kernels/decode_program.h"
#include "cuda/kernels/rope_turn.h"

namespace llmcore::cuda {

constexpr int kAttendTokens = 16;  // of a warp's step

// What all attention phases of a step ask of it.
struct ProgramRow {
    const int32_t* blocks;
    int32_t position;
    int32_t kv_len;
};

SIMT_BOTH int program_query_parts(const AttentionStepArgs& args) {
    return (args.n_heads / args.kv.n_kv_heads + kProgramQueries - 1) / kProgramQueries;
}
SIMT_BOTH int program_attention_bytes(const AttentionStepArgs& args) {
    return 4 * (kProgramQueries * args.kv.head_dim +
                decode_shared_floats(kProgramWarps, kProgramQueries, args.kv.head_dim));
}
constexpr int kAttendWeights = kProgramWarps * kAttendTokens * kProgramQueries;

// False: item `item` has no tokens.
SIMT_DEVICE bool find_program_work(const AttentionStepArgs& args, const ProgramRow& row, int item,
                                   DecodeWork& work) {
    const int group = args.n_heads / args.kv.n_kv_heads;
    const int parts = program_query_parts(args);
    const int of_heads = item % (args.kv.n_kv_heads * parts);
    const int first_query = of_heads % parts * kProgramQueries;
    work.row = 0;
    work.blocks = row.blocks;
    work.kv_head = of_heads / parts;
    work.first_head = work.kv_head * group + first_query;
    work.n_queries = min(kProgramQueries, group - first_query);
    work.counter = of_heads;
    work.first_partial = work.first_head;
    const int end = args.causal ? row.position + 1 : row.kv_len;
    const SeenTokens seen = {args.window > 0 ? max(0, end - args.window) : 0, end};
    return split_tokens(args, seen, item / (args.kv.n_kv_heads * parts), work);
}

// A warp normalizes and rotates one head; store(dimension, value).
template <class Store>
SIMT_DEVICE void turn_head(const RopeStoreArgs& rope, const float* from, const float* norm,
                           const float2* turns, Store store) {
    constexpr int kPairs = 4;  // of a lane
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int head_dim = rope.kv.head_dim;
    const int n_turning = rope.style == RopeStyle::none ? 0 : rope.rope_dims / 2;
    float2 values[kPairs];
    float squares = 0.0F;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
        const int pair = i * kWarp + lane;
        const Pair at = pair_of(rope, pair, n_turning);
        values[i] = make_float2(0.0F, 0.0F);
        if (pair < head_dim / 2) values[i] = make_float2(from[at.first], from[at.second]);
        squares += values[i].x * values[i].x + values[i].y * values[i].y;
    }
    float factor = 1.0F;
    if (norm != nullptr) {
        for (int distance = kWarp / 2; distance > 0; distance /= 2)
            squares += __shfl_xor_sync(kFullWarp, squares, distance);
        factor = 1.0F / sqrtf(squares / static_cast<float>(head_dim) + rope.norm_eps);
    }
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
        const int pair = i * kWarp + lane;
        if (pair >= head_dim / 2) continue;
        const Pair at = pair_of(rope, pair, n_turning);
        float2 value = values[i];
        if (norm != nullptr) {
            value.x *= factor * norm[at.first];
            value.y *= factor * norm[at.second];
        }
        const float2 turn = pair < n_turning ? turns[pair] : make_float2(1.0F, 0.0F);
        store(at.first, value.x * turn.x - value.y * turn.y);
        store(at.second, value.x * turn.y + value.y * turn.x);
    }
}

// Warps 0 .. kProgramQueries - 1 each take a query; the next two the newest token's key and value.
SIMT_DEVICE void take_heads(const AttentionPhase& phase, const DecodeWork& work, int position,
                            const float2* turns, float* queries) {
    const RopeStoreArgs& rope = phase.rope;
    const int head_dim = rope.kv.head_dim;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    if (warp < kProgramQueries) {
        float* to = queries + warp * head_dim;
        if (warp < work.n_queries) {
            const float factor = query_factor(phase.attention);
            turn_head(rope, rope.q + static_cast<int64_t>(work.first_head + warp) * head_dim, rope.q_norm,
                      turns, [&](int dim, float value) { to[dim] = value * factor; });
        } else {
            for (int dim = lane; dim < head_dim; dim += kWarp) to[dim] = 0.0F;
        }
        return;
    }
    if (position < work.begin || position >= work.end || warp > kProgramQueries + 1) return;
    auto* key = static_cast<uint16_t*>(rope.kv.base) +
                head_block(rope.kv, work.blocks[position / kKvBlockTokens], work.kv_head) +
                position % kKvBlockTokens * head_dim;
    const int64_t offset = static_cast<int64_t>(work.kv_head) * head_dim;
    if (warp == kProgramQueries) {
        turn_head(rope, rope.k + offset, rope.k_norm, turns,
                  [&](int dim, float value) { key[dim] = float_to_half_bits(value); });
    } else {
        uint16_t* value = key + value_offset(rope.kv);
        for (int dim = lane; dim < head_dim; dim += kWarp)
            value[dim] = float_to_half_bits(rope.v[offset + dim]);
    }
}

SIMT_DEVICE float dot_halves(uint32_t low, uint32_t high, const float4& q) {
    const float2 x = unpack_halves(low);
    const float2 y = unpack_halves(high);
    return x.x * q.x + x.y * q.y + y.x * q.z + y.y * q.w;
}

// A warp's share of the tokens, for heads of up to 64 * Pieces dimensions, a multiple of 8. For the products
// of keys eight lanes share a token, for the sums of values a lane has 2 * Pieces dimensions.
template <int Pieces>
struct Attend {
    SIMT_DEVICE Attend(const AttentionStepArgs& a, const DecodeWork& w, const float* q, float4* of_tokens)
        : args(a), work(w), queries(q), weights(of_tokens) {}

    const AttentionStepArgs& args;
    const DecodeWork& work;
    const float* queries;
    float4* weights;  // of kAttendTokens tokens, for each query
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int group = lane / 8;
    const int in_group = lane % 8;
    float maxima[kProgramQueries];
    float denominators[kProgramQueries];
    float sums[kProgramQueries][2 * Pieces];

    SIMT_DEVICE bool sees(int token) const { return token >= work.begin && token < work.end; }

    SIMT_DEVICE void start() {
        for (int query = 0; query < kProgramQueries; ++query) {
            maxima[query] = -INFINITY;
            denominators[query] = 0.0F;
            for (float& sum : sums[query]) sum = 0.0F;
        }
    }

    // words[j]: of token 4 j + group, dimensions 8 (in_group + 8 piece) and on.
    SIMT_DEVICE void load_keys(const uint16_t* keys, int token, int piece, uint4 (&words)[4]) const {
        const int head_dim = args.kv.head_dim;
        const int dim = 8 * (in_group + 8 * piece);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int at = 4 * j + group;
            words[j] = make_uint4(0, 0, 0, 0);
            if (dim < head_dim && sees(token + at))
                words[j] = *reinterpret_cast<const uint4*>(keys + at * head_dim + dim);
        }
    }

    SIMT_DEVICE void add_products(int piece, const uint4 (&words)[4],
                                  float (&products)[4][kProgramQueries]) const {
        const int head_dim = args.kv.head_dim;
        const int dim = 8 * (in_group + 8 * piece);
        if (dim >= head_dim) return;
#pragma unroll
        for (int query = 0; query < kProgramQueries; ++query) {
            const auto* q = reinterpret_cast<const float4*>(queries + query * head_dim + dim);
            const float4 a = q[0];
#pragma unroll
            for (int j = 0; j < 4; ++j) products[j][query] += dot_halves(words[j].x, words[j].y, a);
            const float4 b = q[1];
#pragma unroll
            for (int j = 0; j < 4; ++j) products[j][query] += dot_halves(words[j].z, words[j].w, b);
        }
    }

    // products[j][query]: of token 4 j + group.
    SIMT_DEVICE void multiply_keys(const uint16_t* keys, int token,
                                   float (&products)[4][kProgramQueries]) const {
        // All loads at once would take registers that the stream of weights has.
#pragma unroll 1
        for (int piece = 0; piece < Pieces; ++piece) {
            uint4 words[4];
            load_keys(keys, token, piece, words);
            add_products(piece, words, products);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int query = 0; query < kProgramQueries; ++query) {
                float& product = products[j][query];
                for (int distance = 4; distance > 0; distance /= 2)
                    product += __shfl_xor_sync(kFullWarp, product, distance);
            }
        }
    }

    // Makes weights of the products, and what there is already smaller where the maximum has grown.
    SIMT_DEVICE void weigh(int token, float (&products)[4][kProgramQueries]) {
#pragma unroll
        for (int query = 0; query < kProgramQueries; ++query) {
            float top = maxima[query];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                float& score = products[j][query];
                score = sees(token + 4 * j + group) ? capped(args, score) : -INFINITY;
                top = fmaxf(top, score);
            }
            top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 8));
            top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 16));
            const float shrink = weight_of(maxima[query], top);
            maxima[query] = top;
            denominators[query] *= shrink;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                products[j][query] = weight_of(products[j][query], top);
                denominators[query] += products[j][query];
            }
            for (float& sum : sums[query]) sum *= shrink;
        }
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (in_group == j)
                weights[4 * j + group] =
                    make_float4(products[j][0], products[j][1], products[j][2], products[j][3]);
        __syncwarp();
    }

    SIMT_DEVICE void add_values(const uint16_t* values, int token) {
        const int head_dim = args.kv.head_dim;
        const int dim = lane * 2 * Pieces;
#pragma unroll(Pieces > 2 ? 2 : 4)
        for (int i = 0; i < kAttendTokens; ++i) {
            if (!sees(token + i) || dim >= head_dim) continue;
            const uint16_t* from = values + i * head_dim + dim;
            uint32_t words[Pieces];
            if constexpr (Pieces == 4) {
                const uint4 four = *reinterpret_cast<const uint4*>(from);
                words[0] = four.x;
                words[1] = four.y;
                words[2] = four.z;
                words[3] = four.w;
            } else if constexpr (Pieces == 2) {
                const uint2 two = *reinterpret_cast<const uint2*>(from);
                words[0] = two.x;
                words[1] = two.y;
            } else {
                words[0] = *reinterpret_cast<const uint32_t*>(from);
            }
            const float4 weight = weights[i];
#pragma unroll
            for (int word = 0; word < Pieces; ++word) {
                const float2 value = unpack_halves(words[word]);
#pragma unroll
                for (int query = 0; query < kProgramQueries; ++query) {
                    const float w = query == 0   ? weight.x
                                    : query == 1 ? weight.y
                                    : query == 2 ? weight.z
                                                 : weight.w;
                    sums[query][2 * word] += w * value.x;
                    sums[query][2 * word + 1] += w * value.y;
                }
            }
        }
        __syncwarp();  // the weights are overwritten next
    }

    SIMT_DEVICE void leave(const DecodeShared& shared) {
        const int warp = static_cast<int>(threadIdx.x) / kWarp;
        const int head_dim = args.kv.head_dim;
        if (lane < kQueries) shared.maxima[warp * kQueries + lane] = -INFINITY;
        __syncwarp();
#pragma unroll
        for (int query = 0; query < kProgramQueries; ++query) {
            float denominator = denominators[query];
            denominator += __shfl_xor_sync(kFullWarp, denominator, 8);
            denominator += __shfl_xor_sync(kFullWarp, denominator, 16);
            if (query >= work.n_queries) continue;
            if (lane == 0) {
                shared.maxima[warp * kQueries + query] = maxima[query];
                shared.denominators[warp * kQueries + query] = denominator;
            }
            float* to = shared.sums + (warp * work.n_queries + query) * head_dim;
            for (int i = 0; i < 2 * Pieces; ++i)
                if (lane * 2 * Pieces + i < head_dim) to[lane * 2 * Pieces + i] = sums[query][i];
        }
    }

    // first_block: that of the warp's first tokens.
    SIMT_DEVICE void run(int first_block, const DecodeShared& shared) {
        const auto* cache = static_cast<const uint16_t*>(args.kv.base);
        start();
        const int warp = static_cast<int>(threadIdx.x) / kWarp;
        int block = first_block;
        for (int token = work.begin / kAttendTokens * kAttendTokens + warp * kAttendTokens;
             token < work.end;) {
            const uint16_t* keys =
                cache + head_block(args.kv, block, work.kv_head) + token % kKvBlockTokens * args.kv.head_dim;
            const int next = token + kProgramWarps * kAttendTokens;
            if (next < work.end) block = work.blocks[next / kKvBlockTokens];
            float products[4][kProgramQueries] = {};
            multiply_keys(keys, token, products);
            weigh(token, products);
            add_values(keys + value_offset(args.kv), token);
            token = next;
        }
        leave(shared);
    }
};

// The block of the cache that has the warp's first tokens.
SIMT_DEVICE int first_cache_block(const DecodeWork& work) {
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int token = work.begin / kAttendTokens * kAttendTokens + warp * kAttendTokens;
    return token < work.end ? work.blocks[token / kKvBlockTokens] : 0;
}

// Before the queries are there: brings the first keys and values of the block's item near.
SIMT_DEVICE int prepare_attention(const AttentionStepArgs& args, const ProgramRow& row) {
    DecodeWork work;
    const int n_items = args.kv.n_kv_heads * program_query_parts(args) * args.n_splits;
    if (static_cast<int>(blockIdx.x) >= n_items ||
        !find_program_work(args, row, static_cast<int>(blockIdx.x), work))
        return 0;
    const int block = first_cache_block(work);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int token = work.begin / kAttendTokens * kAttendTokens + warp * kAttendTokens;
    if (token >= work.end) return block;
    const auto* from = static_cast<const uint16_t*>(args.kv.base) + head_block(args.kv, block, work.kv_head) +
                       token % kKvBlockTokens * args.kv.head_dim +
                       (lane % 2 == 0 ? 0 : value_offset(args.kv));
    const int elements = min(kAttendTokens, work.end - token) * args.kv.head_dim;
    for (int at = lane / 2 * 64; at < elements; at += 16 * 64) prefetch_to_l2(from + at);
    return block;
}

// all_weights: kAttendWeights floats.
SIMT_DEVICE void attend(const AttentionPhase& phase, const ProgramRow& row, const float2* turns,
                        int first_block, float* all_weights, unsigned char* arena) {
    const AttentionStepArgs& args = phase.attention;
    const int head_dim = args.kv.head_dim;
    auto* queries = reinterpret_cast<float*>(arena);
    const DecodeShared shared = decode_shared(queries + kProgramQueries * head_dim, kProgramWarps);
    float4* weights =
        reinterpret_cast<float4*>(all_weights) + static_cast<int>(threadIdx.x) / kWarp * kAttendTokens;
    const int n_items = args.kv.n_kv_heads * program_query_parts(args) * args.n_splits;
    for (int item = static_cast<int>(blockIdx.x); item < n_items; item += static_cast<int>(gridDim.x)) {
        DecodeWork work;
        if (!find_program_work(args, row, item, work)) continue;
        if (item != static_cast<int>(blockIdx.x)) {
            first_block = first_cache_block(work);
            __syncthreads();  // the item before may still be read
        }
        take_heads(phase, work, row.position, turns, queries);
        __syncthreads();
        if (head_dim <= 64)
            Attend<1>(args, work, queries, weights).run(first_block, shared);
        else if (head_dim <= 128)
            Attend<2>(args, work, queries, weights).run(first_block, shared);
        else
            Attend<4>(args, work, queries, weights).run(first_block, shared);
        finish_decode(args, work, shared);
    }
}

}  // namespace llmcore::cuda
