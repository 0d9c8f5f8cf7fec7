// attention_decode without tensor cores: any head size, any cache. Included by attention_decode.cu alone.
#pragma once

#include "cuda/kernels/kv_q8.h"

namespace llmcore::cuda {
namespace {

// How a format's numbers are read. `head` is what a head has in a block of the cache.
struct F16Cell {
    SIMT_DEVICE static int64_t bytes(int64_t elements) { return 2 * elements; }
    SIMT_DEVICE static float load(const unsigned char* head, int head_dim, int token, int dim) {
        return half_to_float(reinterpret_cast<const uint16_t*>(head)[token * head_dim + dim]);
    }
};
struct F32Cell {
    SIMT_DEVICE static int64_t bytes(int64_t elements) { return 4 * elements; }
    SIMT_DEVICE static float load(const unsigned char* head, int head_dim, int token, int dim) {
        return reinterpret_cast<const float*>(head)[token * head_dim + dim];
    }
};
struct Q8Cell {
    SIMT_DEVICE static int64_t bytes(int64_t elements) { return q8_bytes(elements); }
    SIMT_DEVICE static float load(const unsigned char* head, int head_dim, int token, int dim) {
        const auto* scales = reinterpret_cast<const uint16_t*>(head + q8_scales_at(head_dim));
        const auto code = static_cast<signed char>(head[token * head_dim + q8_code_at(head_dim, dim)]);
        return half_to_float(scales[token * (head_dim / kQ8Block) + dim / kQ8Block]) *
               static_cast<float>(code);
    }
};

constexpr int kPlainWarps = 4;

// Any head size up to 32 * Columns and any cache: lane l has dimensions l, l + 32, ...
template <class Cell, int Columns>
SIMT_GLOBAL SIMT_BOUNDS(kPlainWarps* kWarp, 1) void decode_plain(AttentionStepArgs args) {
    constexpr int kTokens = Columns > 4 ? 2 : 4;  // of a step
    next_kernel_may_start();
    DecodeWork work;
    const bool has_work = find_decode_work(args, work);
    previous_kernels_done();
    if (!has_work) return;

    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int head_dim = args.kv.head_dim;
    const DecodeShared shared = decode_shared(reinterpret_cast<float*>(shared_memory()), kPlainWarps);
    float* queries = shared.sums;  // until the sums are known
    const float* q = args.q + work.row * args.q_stride + static_cast<int64_t>(work.first_head) * head_dim;
    const float factor = query_factor(args);
    for (int i = static_cast<int>(threadIdx.x); i < work.n_queries * head_dim; i += kPlainWarps * kWarp) {
        queries[i] = q[i] * factor;
    }
    __syncthreads();

    const auto* cache = static_cast<const unsigned char*>(args.kv.base);
    const int64_t to_values = Cell::bytes(value_offset(args.kv));
    float maxima[kQueries];
    float denominators[kQueries];
    float sums[kQueries][Columns];
#pragma unroll
    for (int query = 0; query < kQueries; ++query) {
        maxima[query] = -INFINITY;
        denominators[query] = 0;
#pragma unroll
        for (int column = 0; column < Columns; ++column) sums[query][column] = 0;
    }
    for (int token = work.begin / kTokens * kTokens + warp * kTokens; token < work.end;
         token += kPlainWarps * kTokens) {
        const int in_block = token % kKvBlockTokens;
        const unsigned char* head =
            cache + Cell::bytes(head_block(args.kv, work.blocks[token / kKvBlockTokens], work.kv_head));
        float keys[kTokens][Columns];
        float values[kTokens][Columns];
#pragma unroll
        for (int i = 0; i < kTokens; ++i) {
            const bool is_seen = token + i >= work.begin && token + i < work.end;
#pragma unroll
            for (int column = 0; column < Columns; ++column) {
                const int dim = column * kWarp + lane;
                const bool is_valid = is_seen && dim < head_dim;
                keys[i][column] = is_valid ? Cell::load(head, head_dim, in_block + i, dim) : 0.0F;
                values[i][column] =
                    is_valid ? Cell::load(head + to_values, head_dim, in_block + i, dim) : 0.0F;
            }
        }
#pragma unroll
        for (int query = 0; query < kQueries; ++query) {
            if (query >= work.n_queries) break;
            float scores[kTokens] = {};
#pragma unroll
            for (int column = 0; column < Columns; ++column) {
                const int dim = column * kWarp + lane;
                const float x = dim < head_dim ? queries[query * head_dim + dim] : 0.0F;
#pragma unroll
                for (int i = 0; i < kTokens; ++i) scores[i] += x * keys[i][column];
            }
            float top = maxima[query];
#pragma unroll
            for (int i = 0; i < kTokens; ++i) {
#pragma unroll
                for (int distance = 16; distance > 0; distance /= 2) {
                    scores[i] += __shfl_xor_sync(kFullWarp, scores[i], distance);
                }
                const bool is_seen = token + i >= work.begin && token + i < work.end;
                scores[i] = is_seen ? capped(args, scores[i]) : -INFINITY;
                top = fmaxf(top, scores[i]);
            }
            const float shrink = weight_of(maxima[query], top);
            maxima[query] = top;
            denominators[query] *= shrink;
#pragma unroll
            for (int column = 0; column < Columns; ++column) sums[query][column] *= shrink;
#pragma unroll
            for (int i = 0; i < kTokens; ++i) {
                const float weight = weight_of(scores[i], top);
                denominators[query] += weight;
#pragma unroll
                for (int column = 0; column < Columns; ++column)
                    sums[query][column] += weight * values[i][column];
            }
        }
    }

    __syncthreads();  // the queries are read
#pragma unroll
    for (int query = 0; query < kQueries; ++query) {
        if (lane == 0) {
            shared.maxima[warp * kQueries + query] = maxima[query];
            shared.denominators[warp * kQueries + query] = denominators[query];
        }
#pragma unroll
        for (int column = 0; column < Columns; ++column) {
            const int dim = column * kWarp + lane;
            if (query >= work.n_queries || dim >= head_dim) continue;
            shared.sums[(warp * work.n_queries + query) * head_dim + dim] = sums[query][column];
        }
    }
    finish_decode(args, work, shared);
}

}  // namespace
}  // namespace llmcore::cuda
