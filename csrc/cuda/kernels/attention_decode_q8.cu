// As decode_mma of attention_decode.cu, over a cache of Q8_0 (kv_q8.h). Codes become F16 exactly. The keys'
// scales multiply the float32 sums of 32 dimensions, the values' scales the weights before these are split
// into two F16: no scaled code is rounded.
#include "cuda/kernels/attention_q8.h"

#include "cuda/kernels/attention_mma.h"
#include "cuda/kernels/kv_q8.h"

namespace llmcore::cuda {
namespace {

// Weights times scales are small for F16: they are lifted by as much as leaves values of up to 65000 in its
// range.
constexpr float kLift = 128;

template <int Blocks>
struct DecodeQ8 {
    static constexpr int kHeadDim = Blocks * kQ8Block;
    static constexpr bool kIsWide = Blocks > kQ8SpanBlocks;  // as DecodeMma's
    static constexpr int kMostWarps = kIsWide ? 4 : 8;
    static constexpr int kSpanBlocks = kIsWide ? kQ8SpanBlocks : Blocks;
    static constexpr int kSpans = Blocks / kSpanBlocks;
    static_assert(Blocks == kSpans * kSpanBlocks);
    static constexpr int kQueryBytes = kIsWide ? Blocks * kWarp * static_cast<int>(sizeof(QueryWords)) : 0;

    // Lane 4 g + t: of token g the dimensions 4 t .. and 16 + 4 t .. of every block, and the scales of tokens
    // 2 t and 2 t + 1.
    struct Keys {
        uint32_t codes[kSpans][2][kSpanBlocks];
        uint32_t scales[Blocks];
    };
    // Lane 4 g + t: of tokens 2 t, 2 t + 1, 2 t + 8 and 2 t + 9 the dimensions 4 g .. of every block, and the
    // scales.
    struct Values {
        uint32_t codes[4][kSpanBlocks];
    };
    struct ValueScales {
        uint32_t early[Blocks], late[Blocks];
    };

    // The scales of two tokens that lie together.
    SIMT_DEVICE static void load_scales(uint32_t (&scales)[Blocks], const unsigned char* head, int token) {
        load_words(scales, head + q8_scales_at(kHeadDim) + token * Blocks * 2);
    }
    SIMT_DEVICE static float scale(const uint32_t (&scales)[Blocks], int token, int block) {
        const int at = token * Blocks + block;
        return half_to_float(static_cast<uint16_t>(scales[at / 2] >> at % 2 * 16));
    }

    // `token`: the first of eight, in its block of the cache.
    SIMT_DEVICE static void load_keys(Keys& keys, const unsigned char* head, int token) {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        const unsigned char* codes = head + (token + lane / 4) * kHeadDim + lane % 4 * 4 * kSpanBlocks;
#pragma unroll
        for (int span = 0; span < kSpans; ++span) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                load_words(keys.codes[span][half], codes + span * kQ8Span + half * 16 * kSpanBlocks);
            }
        }
        load_scales(keys.scales, head, token + lane % 4 * 2);
    }

    // `token`: the first of sixteen.
    SIMT_DEVICE static void load_values(Values& values, const unsigned char* head, int token, int span) {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        const unsigned char* codes =
            head + (token + lane % 4 * 2) * kHeadDim + span * kQ8Span + lane / 4 * 4 * kSpanBlocks;
#pragma unroll
        for (int i = 0; i < 4; ++i) load_words(values.codes[i], codes + (i % 2 + i / 2 * 8) * kHeadDim);
    }
    SIMT_DEVICE static void load_value_scales(ValueScales& scales, const unsigned char* head, int token) {
        const int pair = token + static_cast<int>(threadIdx.x) % 4 * 2;
        load_scales(scales.early, head, pair);
        load_scales(scales.late, head, pair + 8);
    }

    // Columns 4 g + j of a block for j = 0 .. 3: column tile j.
    SIMT_DEVICE static void add_block(float (&sums)[4][4], const float (&weights)[4], uint32_t v0,
                                      uint32_t v1, uint32_t v2, uint32_t v3) {
        uint32_t halves[4];
        halves[0] = split_halves(weights[0], weights[1], halves[1]);
        halves[2] = split_halves(weights[2], weights[3], halves[3]);
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
            // Bytes of two tokens in turn: both tokens' codes of one dimension are a word of F16.
            const unsigned order = pair == 0 ? 0x5140 : 0x7362;
            uint32_t early[2], late[2];
            code_halves(__byte_perm(v0, v1, order), early[0], early[1]);
            code_halves(__byte_perm(v2, v3, order), late[0], late[1]);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                mma_f16(sums[2 * pair + i], halves[0], halves[1], halves[2], halves[3], early[i], late[i]);
            }
        }
    }
};

template <int Blocks>
SIMT_GLOBAL SIMT_BOUNDS(DecodeQ8<Blocks>::kMostWarps* kWarp, 1) void decode_q8(AttentionStepArgs args) {
    using Q8 = DecodeQ8<Blocks>;
    constexpr int kHeadDim = Q8::kHeadDim;
    next_kernel_may_start();
    DecodeWork work;
    const bool has_work = find_decode_work(args, work);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    const int group_row = lane / 4;
    const int in_group = lane % 4;

    // Units are whole, in blocks that the sequence has: what lies there and is not seen weighs nothing.
    int token = has_work ? work.begin / kUnit * kUnit + warp * kUnit : 0;
    int block = has_work && token < work.end ? work.blocks[token / kKvBlockTokens] : 0;
    previous_kernels_done();
    if (!has_work) return;

    const int64_t to_values = q8_bytes(value_offset(args.kv));
    const unsigned char* head = q8_head(args.kv, block, work.kv_head);
    typename Q8::Keys keys[2];
    const auto load_all_keys = [&](int of_token) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            Q8::load_keys(keys[half], head, of_token % kKvBlockTokens + half * 8);
        }
    };
    if constexpr (!Q8::kIsWide) {
        if (token < work.end) load_all_keys(token);
    }

    const float* q =
        args.q + work.row * args.q_stride + static_cast<int64_t>(work.first_head + group_row) * kHeadDim;
    const auto query_block = [&](int of_block) {
        const float* from = q + of_block * kQ8Block + 4 * in_group;
        return split_query(from, from + 16, group_row < work.n_queries, query_factor(args));
    };
    [[maybe_unused]] QueryWords queries[Q8::kIsWide ? 1 : Blocks];
    [[maybe_unused]] auto* shared_queries = reinterpret_cast<QueryWords*>(shared_memory());
    if constexpr (Q8::kIsWide) {
        for (int i = warp; i < Blocks; i += warps) shared_queries[i * kWarp + lane] = query_block(i);
        __syncthreads();
    } else {
#pragma unroll
        for (int i = 0; i < Blocks; ++i) queries[i] = query_block(i);
    }

    float maximum = -INFINITY;
    float denominator = 0;  // of this lane's tokens
    float sums[Blocks][4][4] = {};
    while (token < work.end) {
        const int in_block = token % kKvBlockTokens;
        const unsigned char* value_head = head + to_values;
        const int next = token + warps * kUnit;
        if (next < work.end) block = work.blocks[next / kKvBlockTokens];
        typename Q8::Values values;
        typename Q8::ValueScales value_scales;
        if constexpr (!Q8::kIsWide) {
            Q8::load_values(values, value_head, in_block, 0);
            Q8::load_value_scales(value_scales, value_head, in_block);
        }

        float scores[4] = {};
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if constexpr (Q8::kIsWide) {
                __syncwarp();  // so that no more is loaded ahead than there are registers for
                Q8::load_keys(keys[half], head, in_block + half * 8);
            }
#pragma unroll
            for (int i = 0; i < Blocks; ++i) {
                const auto& codes = keys[half].codes[i / Q8::kSpanBlocks];
                uint32_t key[4];
                code_halves(codes[0][i % Q8::kSpanBlocks], key[0], key[1]);
                code_halves(codes[1][i % Q8::kSpanBlocks], key[2], key[3]);
                const QueryWords& query =
                    Q8::kIsWide ? shared_queries[i * kWarp + lane] : queries[Q8::kIsWide ? 0 : i];
                float products[4] = {};
                add_products(products, query, key[0], key[1], key[2], key[3]);
#pragma unroll
                for (int of_pair = 0; of_pair < 2; ++of_pair) {
                    scores[2 * half + of_pair] += Q8::scale(keys[half].scales, of_pair, i) *
                                                  (products[of_pair] + products[of_pair + 2]);
                }
            }
        }
        head = q8_head(args.kv, block, work.kv_head);
        if constexpr (!Q8::kIsWide) {
            if (next < work.end) load_all_keys(next);
        }

        bool is_seen[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int at = token + 2 * in_group + i % 2 + i / 2 * 8;
            is_seen[i] = at >= work.begin && at < work.end;
            scores[i] = is_seen[i] ? capped(args, scores[i]) : -INFINITY;
        }
        const float shrink = weigh_scores(scores, maximum, denominator);
        // Far into a sequence maxima seldom change.
        if (__any_sync(kFullWarp, shrink != 1.0F ? 1 : 0) != 0) {
#pragma unroll
            for (int i = 0; i < Blocks; ++i) {
#pragma unroll
                for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sums[i][tile][j] *= shrink;
                }
            }
        }
        if constexpr (Q8::kIsWide) {
            __syncwarp();
            Q8::load_value_scales(value_scales, value_head, in_block);
        }
#pragma unroll
        for (int i = 0; i < Blocks; ++i) {
            if constexpr (Q8::kIsWide) {
                if (i % Q8::kSpanBlocks == 0) {
                    __syncwarp();
                    Q8::load_values(values, value_head, in_block, i / Q8::kSpanBlocks);
                }
            }
            float weights[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const float scale = Q8::scale(j < 2 ? value_scales.early : value_scales.late, j % 2, i);
                weights[j] = is_seen[j] ? scores[j] * kLift * scale : 0.0F;
            }
            const auto& codes = values.codes;
            const int in_span = i % Q8::kSpanBlocks;
            Q8::add_block(sums[i], weights, codes[0][in_span], codes[1][in_span], codes[2][in_span],
                          codes[3][in_span]);
        }
        token = next;
    }

    const DecodeShared shared =
        decode_shared(reinterpret_cast<float*>(shared_memory() + Q8::kQueryBytes), warps);
    leave_weights(work, shared, maximum, denominator);
    if (group_row < work.n_queries) {
        float* to = shared.sums + (warp * work.n_queries + group_row) * kHeadDim;
#pragma unroll
        for (int i = 0; i < Blocks; ++i) {
#pragma unroll
            for (int column = 0; column < 2; ++column) {
                const auto sum = [&](int tile) {
                    return (sums[i][tile][column] + sums[i][tile][column + 2]) * (1 / kLift);
                };
                *reinterpret_cast<float4*>(to + i * kQ8Block + 4 * (2 * in_group + column)) =
                    make_float4(sum(0), sum(1), sum(2), sum(3));
            }
        }
    }
    finish_decode(args, work, shared);
}

template <int Blocks>
bool launch_q8(const Stream& stream, const AttentionStepArgs& args, LaunchShape shape, int n_queries) {
    using Q8 = DecodeQ8<Blocks>;
    const int warps = decode_warps(args, shape, Q8::kMostWarps);
    shape.threads = static_cast<unsigned>(warps * kWarp);
    shape.shared_bytes = static_cast<std::size_t>(Q8::kQueryBytes) +
                         sizeof(float) * decode_shared_floats(warps, n_queries, Q8::kHeadDim);
    launch(stream, &decode_q8<Blocks>, shape, args);
    return true;
}

}  // namespace

bool attention_decode_q8(const Stream& stream, const AttentionStepArgs& args, const LaunchShape& shape,
                         int n_queries) {
    if (args.q_stride % 4 != 0) return false;
    switch (args.kv.head_dim) {
        case 64:
            return launch_q8<2>(stream, args, shape, n_queries);
        case 96:
            return launch_q8<3>(stream, args, shape, n_queries);
        case 128:
            return launch_q8<4>(stream, args, shape, n_queries);
        case 256:
            return launch_q8<8>(stream, args, shape, n_queries);
        default:
            return false;
    }
}

}  // namespace llmcore::cuda
