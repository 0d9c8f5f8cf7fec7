// Attention of tiles of consecutive rows, FlashAttention-2 (Dao 2023): a CTA has 64 rows of one head, a warp
// 16 of them; keys and values come through shared memory, the next tile of tokens while one is worked on.
#include "base/error.h"
#include "cuda/kernels/attention_tiles_q8.h"

namespace llmcore::cuda {
namespace {

constexpr int kPrefillWarps = 4;
constexpr int kPrefillThreads = kPrefillWarps * kWarp;

template <int HeadDim, bool IsQ8>
struct PrefillShape {
    static constexpr bool kIsWide = HeadDim > 128;     // queries in shared memory, or they take all registers
    static constexpr int kTokens = kIsWide ? 32 : 64;  // of a tile
    static constexpr int kStride = HeadDim + 8;      // an odd number of 16 bytes: matrix loads hit all banks
    static constexpr int kTile = kTokens * kStride;  // 16-bit elements
    static constexpr int kQueries = kIsWide ? kPrefillRows * kStride : 0;
    // F16 arrives where it is read, in two tiles in turn; codes wait beside one tile that is made of them.
    static constexpr int kTiles = IsQ8 ? 1 : 2;
    static constexpr int kCodeBytes = IsQ8 ? 2 * Q8Tile<HeadDim, kTokens>::kBytes : 0;
    static constexpr std::size_t kSharedBytes =
        sizeof(uint16_t) * (2 * kTiles * kTile + kQueries) + kCodeBytes;
};

// Copies the keys and values of tokens [token, token + kTokens); those outside of `seen` become zeros, since
// what the cache has there may be NaN, which even a weight of 0 would not hide.
template <int HeadDim>
SIMT_DEVICE void copy_tile(const AttentionStepArgs& args, uint16_t* keys, uint16_t* values,
                           const int32_t* blocks, int kv_head, int token, SeenTokens seen) {
    using Shape = PrefillShape<HeadDim, false>;
    constexpr int kChunks = HeadDim / 8;
    const auto* cache = static_cast<const uint16_t*>(args.kv.base);
    const int64_t to_values = value_offset(args.kv);
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x); i < Shape::kTokens * kChunks; i += kPrefillThreads) {
        const int in_tile = i / kChunks;
        const int dim = i % kChunks * 8;
        const int at = token + in_tile;
        const bool is_seen = at >= seen.begin && at < seen.end;
        const uint16_t* from = cache;
        if (is_seen) {
            from += head_block(args.kv, blocks[at / kKvBlockTokens], kv_head) +
                    at % kKvBlockTokens * HeadDim + dim;
        }
        copy_async16(keys + in_tile * Shape::kStride + dim, from, is_seen ? 16 : 0);
        copy_async16(values + in_tile * Shape::kStride + dim, is_seen ? from + to_values : from,
                     is_seen ? 16 : 0);
    }
}

SIMT_DEVICE uint32_t query_pair(const float* q, bool is_valid, float factor) {
    return is_valid ? pack_halves(q[0] * factor, q[1] * factor) : 0;
}

// Queries as fragments: lane 4 g + t has columns 2 t, 2 t + 1 (and 8 more) of its warp's rows g and g + 8.
template <int HeadDim>
SIMT_DEVICE void load_fragment(uint32_t (&fragment)[4], const float* q, int64_t q_stride, int step,
                               int n_rows, float factor) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int row = static_cast<int>(threadIdx.x) / kWarp * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int of_row = row + i % 2 * 8;
        const float* from = q + of_row * q_stride + step * 16 + i / 2 * 8 + lane % 4 * 2;
        fragment[i] = query_pair(from, of_row < n_rows, factor);
    }
}

template <int HeadDim, bool IsQ8>
SIMT_GLOBAL SIMT_BOUNDS(kPrefillThreads, 1) void prefill_mma(AttentionStepArgs args) {
    using Shape = PrefillShape<HeadDim, IsQ8>;
    constexpr int kSteps = HeadDim / 16;
    constexpr int kTokens = Shape::kTokens;
    next_kernel_may_start();
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    // The last tiles of a sequence see most: they go first.
    const int4 tile = args.tiles[args.n_tiles - 1 - static_cast<int>(blockIdx.y)];
    const int head = static_cast<int>(blockIdx.x);
    const int kv_head = head / (args.n_heads / args.kv.n_kv_heads);
    const int32_t* blocks =
        args.step.block_table + static_cast<int64_t>(tile.x) * args.step.block_table_stride;

    // What this lane's two rows see, what some row of the warp sees, and what some row of the tile sees.
    SeenTokens row_seen[2];
    SeenTokens warp_seen = {INT32_MAX, 0};
    SeenTokens tile_seen = {INT32_MAX, 0};
    const auto widen = [](SeenTokens& all, SeenTokens one) {
        if (one.begin < one.end) all = {min(all.begin, one.begin), max(all.end, one.end)};
    };
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = warp * 16 + i * 8 + lane / 4;
        row_seen[i] = {0, 0};
        if (row < tile.z) row_seen[i] = seen_tokens(args, tile.y + row, tile.x);
        widen(warp_seen, row_seen[i]);
        const int other = i * kWarp + lane;
        if (other < tile.z) widen(tile_seen, seen_tokens(args, tile.y + other, tile.x));
    }
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        warp_seen = {min(warp_seen.begin, __shfl_xor_sync(kFullWarp, warp_seen.begin, distance)),
                     max(warp_seen.end, __shfl_xor_sync(kFullWarp, warp_seen.end, distance))};
        tile_seen = {min(tile_seen.begin, __shfl_xor_sync(kFullWarp, tile_seen.begin, distance)),
                     max(tile_seen.end, __shfl_xor_sync(kFullWarp, tile_seen.end, distance))};
    }
    const int first = tile_seen.begin / kTokens * kTokens;
    previous_kernels_done();

    auto* keys = reinterpret_cast<uint16_t*>(shared_memory());
    uint16_t* values = keys + Shape::kTiles * Shape::kTile;
    uint16_t* shared_queries = values + Shape::kTiles * Shape::kTile;
    [[maybe_unused]] auto* codes = reinterpret_cast<unsigned char*>(shared_queries + Shape::kQueries);
    const auto copy = [&](int of_token, [[maybe_unused]] int to) {
        if constexpr (IsQ8) {
            Q8Tile<HeadDim, kTokens>::copy(args.kv, codes, blocks, kv_head, of_token, tile_seen);
        } else {
            const int at = to * Shape::kTile;
            copy_tile<HeadDim>(args, keys + at, values + at, blocks, kv_head, of_token, tile_seen);
        }
    };
    if (first < tile_seen.end) copy(first, 0);
    copy_async_commit();

    const float* q = args.q + tile.y * args.q_stride + static_cast<int64_t>(head) * HeadDim;
    uint32_t queries[Shape::kIsWide ? 1 : kSteps][4];
    if constexpr (Shape::kIsWide) {
        for (int i = lane; i < 16 * HeadDim / 2; i += kWarp) {
            const int row = warp * 16 + i / (HeadDim / 2);
            const int dim = i % (HeadDim / 2) * 2;
            *reinterpret_cast<uint32_t*>(shared_queries + row * Shape::kStride + dim) =
                query_pair(q + row * args.q_stride + dim, row < tile.z, query_factor(args));
        }
    } else {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
            load_fragment<HeadDim>(queries[step], q, args.q_stride, step, tile.z, query_factor(args));
        }
    }

    float maxima[2] = {-INFINITY, -INFINITY};
    float denominators[2] = {0.0F, 0.0F};  // of this lane's tokens
    float sums[HeadDim / 8][4] = {};
    int buffer = 0;
    for (int token = first; token < tile_seen.end; token += kTokens) {
        const int next = token + kTokens;
        if constexpr (IsQ8) {
            copy_async_wait<0>();
            __syncthreads();
            Q8Tile<HeadDim, kTokens>::expand(codes, keys, values, Shape::kStride, token, tile_seen);
            __syncthreads();
        }
        if (next < tile_seen.end) copy(next, buffer ^ 1);
        copy_async_commit();
        if constexpr (!IsQ8) {
            copy_async_wait<1>();
            __syncthreads();
        }

        if (token < warp_seen.end && next > warp_seen.begin) {
            const uint16_t* tile_keys = keys + buffer * Shape::kTile;
            const uint16_t* tile_values = values + buffer * Shape::kTile;
            float scores[kTokens / 8][4] = {};
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
                uint32_t wide[4];
                if constexpr (Shape::kIsWide) {
                    load_matrices(wide, shared_queries + (warp * 16 + lane % 16) * Shape::kStride +
                                            step * 16 + lane / 16 * 8);
                }
                const uint32_t (&query)[4] = Shape::kIsWide ? wide : queries[Shape::kIsWide ? 0 : step];
#pragma unroll
                for (int pair = 0; pair < kTokens / 16; ++pair) {
                    uint32_t key[4];
                    const int row = pair * 16 + lane / 16 * 8 + lane % 8;
                    load_matrices(key, tile_keys + row * Shape::kStride + step * 16 + lane / 8 % 2 * 8);
                    mma_f16(scores[2 * pair], query[0], query[1], query[2], query[3], key[0], key[1]);
                    mma_f16(scores[2 * pair + 1], query[0], query[1], query[2], query[3], key[2], key[3]);
                }
            }

            // scores[n][i]: row i / 2 of the lane's two, token 8 n + 2 (lane % 4) + i % 2.
            float shrinks[2];
#pragma unroll
            for (int row = 0; row < 2; ++row) {
                const SeenTokens seen = {row_seen[row].begin - token - lane % 4 * 2,
                                         row_seen[row].end - token - lane % 4 * 2};
                float top = maxima[row];
#pragma unroll
                for (int n = 0; n < kTokens / 8; ++n) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& score = scores[n][2 * row + i];
                        score =
                            8 * n + i >= seen.begin && 8 * n + i < seen.end ? capped(args, score) : -INFINITY;
                        top = fmaxf(top, score);
                    }
                }
                top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
                top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
                shrinks[row] = weight_of(maxima[row], top);
                maxima[row] = top;
                const float base = top == -INFINITY ? 0.0F : top;
                float sum = 0;
#pragma unroll
                for (int n = 0; n < kTokens / 8; ++n) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        float& score = scores[n][2 * row + i];
                        score = exp2f(score - base);
                        sum += score;
                    }
                }
                denominators[row] = denominators[row] * shrinks[row] + sum;
            }
#pragma unroll
            for (int n = 0; n < HeadDim / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[n][i] *= shrinks[i / 2];
            }
#pragma unroll
            for (int part = 0; part < kTokens / 16; ++part) {
                uint32_t weights[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const auto& pair = scores[2 * part + i / 2];
                    weights[i] = pack_halves(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
                }
#pragma unroll
                for (int column = 0; column < HeadDim / 16; ++column) {
                    uint32_t value[4];
                    load_matrices_transposed(value, tile_values + (part * 16 + lane % 16) * Shape::kStride +
                                                        column * 16 + lane / 16 * 8);
                    mma_f16(sums[2 * column], weights[0], weights[1], weights[2], weights[3], value[0],
                            value[1]);
                    mma_f16(sums[2 * column + 1], weights[0], weights[1], weights[2], weights[3], value[2],
                            value[3]);
                }
            }
        }
        if constexpr (!IsQ8) {
            __syncthreads();
            buffer ^= 1;
        }
    }
    copy_async_wait<0>();

#pragma unroll
    for (int row = 0; row < 2; ++row) {
        const int in_tile = warp * 16 + row * 8 + lane / 4;
        float denominator = denominators[row];
        denominator += __shfl_xor_sync(kFullWarp, denominator, 1);
        denominator += __shfl_xor_sync(kFullWarp, denominator, 2);
        float factor = 1;
        if (args.sinks != nullptr) {
            const float sink = args.sinks[head] * kLog2E;
            const float top = fmaxf(maxima[row], sink);
            factor = weight_of(maxima[row], top);
            denominator = denominator * factor + exp2f(sink - top);
        }
        factor = denominator > 0 ? factor / denominator : 0.0F;
        if (in_tile >= tile.z) continue;
        float* to = args.out + (tile.y + in_tile) * args.out_stride + static_cast<int64_t>(head) * HeadDim +
                    lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < HeadDim / 8; ++n) {
            to[8 * n] = sums[n][2 * row] * factor;
            to[8 * n + 1] = sums[n][2 * row + 1] * factor;
        }
    }
}

template <int HeadDim, bool IsQ8 = false>
void launch_prefill(const Stream& stream, const AttentionStepArgs& args) {
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(args.n_heads);
    shape.grid_y = static_cast<unsigned>(args.n_tiles);
    shape.threads = kPrefillThreads;
    shape.shared_bytes = PrefillShape<HeadDim, IsQ8>::kSharedBytes;
    launch(stream, &prefill_mma<HeadDim, IsQ8>, shape, args);
}

}  // namespace

void attention_prefill(const Stream& stream, const AttentionStepArgs& args) {
    if (args.n_tiles == 0) return;
    const int head_dim = args.kv.head_dim;
    if (args.kv.format == Format::F16) {
        switch (head_dim) {
            case 64:
                return launch_prefill<64>(stream, args);
            case 80:
                return launch_prefill<80>(stream, args);
            case 96:
                return launch_prefill<96>(stream, args);
            case 128:
                return launch_prefill<128>(stream, args);
            case 256:
                return launch_prefill<256>(stream, args);
            default:
                break;
        }
    } else if (args.kv.format == Format::Q8_0) {
        switch (head_dim) {
            case 64:
                return launch_prefill<64, true>(stream, args);
            case 96:
                return launch_prefill<96, true>(stream, args);
            case 128:
                return launch_prefill<128, true>(stream, args);
            case 256:
                return launch_prefill<256, true>(stream, args);
            default:
                break;
        }
    }
    AttentionStepArgs rows = args;  // each row of the tiles by itself
    rows.rows = nullptr;
    rows.n_splits = 1;
    attention_decode(stream, rows);
}

}  // namespace llmcore::cuda
