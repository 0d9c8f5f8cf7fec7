// Attention of single rows, flash-decoding: the keys of a row are shared by n_splits CTAs and their warps.
//
// The F16 kernel keeps everything in registers: the order of the dimensions in a product, and of the tokens
// in a sum, is free, so lanes load 16 bytes of a token and those are mma fragments as they are.
#include <algorithm>

#include "base/error.h"
#include "cuda/kernels/attention_mma.h"
#include "cuda/kernels/attention_plain.h"
#include "cuda/kernels/attention_q8.h"

namespace llmcore::cuda {
namespace {

SIMT_DEVICE uint4 load16_or_zeros(const uint16_t* from, bool is_valid) {
    uint4 words = make_uint4(0, 0, 0, 0);
    if (is_valid) words = *reinterpret_cast<const uint4*>(from);
    return words;
}

// Heads of up to 64 * Steps dimensions, a multiple of 8. Wide heads leave no registers to load a step ahead,
// nor for the queries.
template <int Steps>
struct DecodeMma {
    static constexpr bool kIsWide = Steps > 2;
    static constexpr int kMostWarps = kIsWide ? 4 : 8;
    static constexpr int kChunks = 2 * Steps;  // of 32 dimensions
    static constexpr int kQueryBytes = kIsWide ? kChunks * 2 * kWarp * 16 : 0;

    // Lane 4 g + t loads dimensions 8 (4 chunk + t) .. of token g.
    SIMT_DEVICE static void load_keys(uint4 (&keys)[kChunks], const uint16_t* tokens, int head_dim,
                                      bool is_seen) {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        const uint16_t* from = tokens + lane / 4 * head_dim;
#pragma unroll
        for (int chunk = 0; chunk < kChunks; ++chunk) {
            const int dim = 8 * (4 * chunk + lane % 4);
            keys[chunk] = load16_or_zeros(from + dim, is_seen && dim < head_dim);
        }
    }

    // Lane 4 g + t loads dimensions 8 (8 step + g) .. of tokens 2 t, 2 t + 1, 2 t + 8, 2 t + 9.
    SIMT_DEVICE static void load_values(uint4 (&values)[4], const uint16_t* tokens, int step, int head_dim,
                                        const bool (&is_seen)[4]) {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        const int dim = 8 * (8 * step + lane / 4);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int token = 2 * (lane % 4) + i % 2 + i / 2 * 8;
            values[i] = load16_or_zeros(tokens + token * head_dim + dim, is_seen[i] && dim < head_dim);
        }
    }

    // Word w of the four tokens are dimensions 2 w and 2 w + 1: column tiles 2 w and 2 w + 1.
    SIMT_DEVICE static void add_pair(float (&even)[4], float (&odd)[4], const uint32_t (&weights)[4],
                                     uint32_t v0, uint32_t v1, uint32_t v2, uint32_t v3) {
        mma_f16(even, weights[0], weights[1], weights[2], weights[3], __byte_perm(v0, v1, 0x5410),
                __byte_perm(v2, v3, 0x5410));
        mma_f16(odd, weights[0], weights[1], weights[2], weights[3], __byte_perm(v0, v1, 0x7632),
                __byte_perm(v2, v3, 0x7632));
    }
    SIMT_DEVICE static void add_values(float (&sums)[8][4], const uint32_t (&weights)[4],
                                       const uint4 (&v)[4]) {
        add_pair(sums[0], sums[1], weights, v[0].x, v[1].x, v[2].x, v[3].x);
        add_pair(sums[2], sums[3], weights, v[0].y, v[1].y, v[2].y, v[3].y);
        add_pair(sums[4], sums[5], weights, v[0].z, v[1].z, v[2].z, v[3].z);
        add_pair(sums[6], sums[7], weights, v[0].w, v[1].w, v[2].w, v[3].w);
    }
};

template <int Steps>
SIMT_GLOBAL SIMT_BOUNDS(DecodeMma<Steps>::kMostWarps* kWarp, 1) void decode_mma(AttentionStepArgs args) {
    using Mma = DecodeMma<Steps>;
    next_kernel_may_start();
    DecodeWork work;
    const bool has_work = find_decode_work(args, work);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    const int head_dim = args.kv.head_dim;
    const int group_row = lane / 4;
    const int in_group = lane % 4;

    int token = has_work ? work.begin / kUnit * kUnit + warp * kUnit : 0;
    int block = has_work && token < work.end ? work.blocks[token / kKvBlockTokens] : 0;
    previous_kernels_done();
    if (!has_work) return;

    const auto* cache = static_cast<const uint16_t*>(args.kv.base);
    const int64_t to_values = value_offset(args.kv);
    const auto keys_of = [&](int of_block, int of_token) {
        return cache + head_block(args.kv, of_block, work.kv_head) + of_token % kKvBlockTokens * head_dim;
    };
    const auto is_seen = [&](int of_token) { return of_token >= work.begin && of_token < work.end; };

    uint4 keys[2][Mma::kChunks];
    const uint16_t* unit = keys_of(block, token);
    const auto load_all_keys = [&](int of_token) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            Mma::load_keys(keys[half], unit + half * 8 * head_dim, head_dim,
                           is_seen(of_token + half * 8 + group_row));
        }
    };
    if constexpr (!Mma::kIsWide) {
        if (token < work.end) load_all_keys(token);
    }

    const float* q =
        args.q + work.row * args.q_stride + static_cast<int64_t>(work.first_head + group_row) * head_dim;
    const auto query_chunk = [&](int chunk) {
        const int dim = 8 * (4 * chunk + in_group);
        return split_query(q + dim, q + dim + 4, group_row < work.n_queries && dim < head_dim,
                           query_factor(args));
    };
    [[maybe_unused]] QueryWords queries[Mma::kIsWide ? 1 : Mma::kChunks];
    [[maybe_unused]] auto* shared_queries = reinterpret_cast<QueryWords*>(shared_memory());
    if constexpr (Mma::kIsWide) {
        for (int chunk = warp; chunk < Mma::kChunks; chunk += warps) {
            shared_queries[chunk * kWarp + lane] = query_chunk(chunk);
        }
        __syncthreads();
    } else {
#pragma unroll
        for (int chunk = 0; chunk < Mma::kChunks; ++chunk) queries[chunk] = query_chunk(chunk);
    }

    float maximum = -INFINITY;
    float denominator = 0;  // of this lane's tokens
    float sums[Steps][8][4] = {};
    while (token < work.end) {
        const uint16_t* unit_values = unit + to_values;
        const int next = token + warps * kUnit;
        if (next < work.end) block = work.blocks[next / kKvBlockTokens];
        bool value_seen[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) value_seen[i] = is_seen(token + 2 * in_group + i % 2 + i / 2 * 8);
        uint4 values[Steps][4];
        if constexpr (!Mma::kIsWide) {
#pragma unroll
            for (int step = 0; step < Steps; ++step) {
                Mma::load_values(values[step], unit_values, step, head_dim, value_seen);
            }
        }

        float products[2][4] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if constexpr (Mma::kIsWide) {
                Mma::load_keys(keys[half], unit + half * 8 * head_dim, head_dim,
                               is_seen(token + half * 8 + group_row));
            }
#pragma unroll
            for (int chunk = 0; chunk < Mma::kChunks; ++chunk) {
                const uint4& key = keys[half][chunk];
                const QueryWords& query =
                    Mma::kIsWide ? shared_queries[chunk * kWarp + lane] : queries[Mma::kIsWide ? 0 : chunk];
                add_products(products[half], query, key.x, key.y, key.z, key.w);
            }
        }
        unit = keys_of(block, next);
        if constexpr (!Mma::kIsWide) {
            if (next < work.end) load_all_keys(next);
        }

        float scores[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float score = capped(args, products[i / 2][i % 2] + products[i / 2][i % 2 + 2]);
            scores[i] = value_seen[i] ? score : -INFINITY;
        }
        const float shrink = weigh_scores(scores, maximum, denominator);
        uint32_t weights[4];
        weights[0] = split_halves(scores[0], scores[1], weights[1]);
        weights[2] = split_halves(scores[2], scores[3], weights[3]);
#pragma unroll
        for (int step = 0; step < Steps; ++step) {
            if constexpr (Mma::kIsWide)
                Mma::load_values(values[step], unit_values, step, head_dim, value_seen);
#pragma unroll
            for (int tile = 0; tile < 8; ++tile) {
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[step][tile][i] *= shrink;
            }
            Mma::add_values(sums[step], weights, values[step]);
        }
        token = next;
    }

    const DecodeShared shared =
        decode_shared(reinterpret_cast<float*>(shared_memory() + Mma::kQueryBytes), warps);
    leave_weights(work, shared, maximum, denominator);
    if (group_row < work.n_queries) {
        float* to = shared.sums + (warp * work.n_queries + group_row) * head_dim;
#pragma unroll
        for (int step = 0; step < Steps; ++step) {
#pragma unroll
            for (int column = 0; column < 2; ++column) {
                const int dim = 64 * step + 8 * (2 * in_group + column);
                if (dim >= head_dim) continue;
#pragma unroll
                for (int tile = 0; tile < 8; tile += 4) {
                    const auto sum = [&](int i) {
                        return sums[step][tile + i][column] + sums[step][tile + i][column + 2];
                    };
                    *reinterpret_cast<float4*>(to + dim + tile) = make_float4(sum(0), sum(1), sum(2), sum(3));
                }
            }
        }
    }
    finish_decode(args, work, shared);
}

template <int Steps>
void launch_mma(const Stream& stream, const AttentionStepArgs& args, LaunchShape shape, int n_queries) {
    using Mma = DecodeMma<Steps>;
    const int warps = decode_warps(args, shape, Mma::kMostWarps);
    shape.threads = static_cast<unsigned>(warps * kWarp);
    shape.shared_bytes = static_cast<std::size_t>(Mma::kQueryBytes) +
                         sizeof(float) * decode_shared_floats(warps, n_queries, args.kv.head_dim);
    launch(stream, &decode_mma<Steps>, shape, args);
}

template <class Cell>
void launch_plain(const Stream& stream, const AttentionStepArgs& args, LaunchShape shape, int n_queries) {
    const int head_dim = args.kv.head_dim;
    shape.threads = kPlainWarps * kWarp;
    shape.shared_bytes = sizeof(float) * decode_shared_floats(kPlainWarps, n_queries, head_dim);
    if (head_dim <= 32)
        launch(stream, &decode_plain<Cell, 1>, shape, args);
    else if (head_dim <= 64)
        launch(stream, &decode_plain<Cell, 2>, shape, args);
    else if (head_dim <= 128)
        launch(stream, &decode_plain<Cell, 4>, shape, args);
    else
        launch(stream, &decode_plain<Cell, 8>, shape, args);
}

}  // namespace

void attention_decode(const Stream& stream, const AttentionStepArgs& given) {
    AttentionStepArgs args = given;
    const int head_dim = args.kv.head_dim;
    if (head_dim < 1 || head_dim > 256)
        fail(ErrorCode::internal, "cuda", "attention heads of more than 256 dimensions");
    const int64_t n_items = args.tiles != nullptr ? int64_t{args.n_tiles} * kPrefillRows : args.n_rows;
    if (n_items == 0) return;
    const int parts = query_parts(args.n_heads, args.kv.n_kv_heads);
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(n_items);
    shape.grid_y = static_cast<unsigned>(args.kv.n_kv_heads * parts);
    // So many rows fill a device without splits.
    if (args.workspace == nullptr || n_items * shape.grid_y > kCounters) args.n_splits = 1;
    args.n_splits = std::clamp(args.n_splits, 1, kMaximumSplits);
    shape.grid_z = static_cast<unsigned>(args.n_splits);

    const int group = args.n_heads / args.kv.n_kv_heads;
    const int n_queries = group < kQueries ? group : kQueries;
    const bool is_aligned = head_dim % 8 == 0 && args.q_stride % 4 == 0;
    if (args.kv.format == Format::Q8_0) {
        if (!attention_decode_q8(stream, args, shape, n_queries))
            launch_plain<Q8Cell>(stream, args, shape, n_queries);
    } else if (args.kv.format == Format::F32)
        launch_plain<F32Cell>(stream, args, shape, n_queries);
    else if (!is_aligned)
        launch_plain<F16Cell>(stream, args, shape, n_queries);
    else if (head_dim <= 64)
        launch_mma<1>(stream, args, shape, n_queries);
    else if (head_dim <= 128)
        launch_mma<2>(stream, args, shape, n_queries);
    else if (head_dim <= 192)
        launch_mma<3>(stream, args, shape, n_queries);
    else
        launch_mma<4>(stream, args, shape, n_queries);
}

std::size_t attention_decode_workspace_bytes(int64_t n_rows, int64_t n_heads, int64_t head_dim,
                                             int64_t n_splits) {
    return sizeof(uint32_t) * kCounters +
           sizeof(float) * static_cast<std::size_t>(n_rows * n_heads * n_splits * (2 + head_dim));
}

int attention_splits(int64_t n_rows, int64_t n_kv_heads, int64_t longest_kv, int multiprocessors) {
    int splits = 1;
    while (splits < kMaximumSplits && 2 * splits * n_rows * n_kv_heads <= 2 * int64_t{multiprocessors} &&
           2 * splits * 128 <= longest_kv) {
        splits *= 2;
    }
    return splits;
}

}  // namespace llmcore::cuda
