// Attention of many queries by AMX: scores, and sums of values, as products of bf16 tiles; softmax in float
// with a running maximum (Milakov and Gimelshein 2018; Dao et al. 2022).
//
// Scores are computed with keys as rows and queries as columns, so that keys need no transposition and a lane
// of the softmax is a query. Few queries go the way of attention_simd.h.
#pragma once

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/attention_simd.h"
#include "kernels/cpu/bf16_rows_amx.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

constexpr int kTileQueries = 16;
constexpr int kQueryTiles = 4;
constexpr int kBlockQueries = kTileQueries * kQueryTiles;
constexpr int kBlockKeys = 64;
constexpr int kFewestTileQueries = 12;  // below, a tile would be empty for the most part
constexpr int64_t kMaxTileDim = 256;
constexpr int64_t kTileFloats = kTileRows * kTileQueries;
constexpr int64_t kTileWords = kTileRows * 32;  // bf16 of a tile

// What a block of queries works with; strides are for the largest head.
struct alignas(64) TileAttentionMemory {
    // Pairs of columns, a lane a query: its bf16, then the bf16 of what that lost, for a second product.
    // Without it the queries' rounding would err as much as the keys'.
    uint16_t queries[kQueryTiles][kMaxTileDim / 32][2][kTileWords];
    uint16_t keys[kBlockKeys][kMaxTileDim];
    uint16_t values[kBlockKeys / 32][kMaxTileDim / 16][kTileWords];  // pairs of keys, a lane a column
    float scores[kBlockKeys][kTileQueries];                          // of one tile of queries
    uint16_t weights[kQueryTiles][kBlockKeys / 32][kTileWords];      // rows are queries
    float sums[kQueryTiles][kMaxTileDim / 16][kTileFloats];          // rows are queries
    int32_t begin[kBlockQueries];
    int32_t end[kBlockQueries];
    float maximum[kBlockQueries];
    float denominator[kBlockQueries];
    float shrink[kBlockQueries];
};

template <class Rows>
class TileAttention {
public:
    // Heads [head, head + heads) of tokens [token, token + tokens), at most kBlockQueries, token by token.
    TileAttention(const AttentionArgs& args, TileAttentionMemory& memory, int64_t kv_head, int64_t token,
                  int64_t tokens, int64_t head, int64_t heads)
        : args_(args),
          memory_(memory),
          kv_head_(kv_head),
          token_(token),
          head_(head),
          heads_(heads),
          count_(tokens * heads),
          tiles_((count_ + kTileQueries - 1) / kTileQueries),
          dim_(args.kv.head_dim),
          steps_((dim_ + 31) / 32) {}

    void run() {
        open();
        for (int64_t begin = seen_.begin; begin < seen_.end; begin += kBlockKeys) {
            convert_keys(begin);
            order_memory();
            for (int64_t tile = 0; tile < tiles_; ++tile) {
                score(tile);
                weigh(tile, begin);
            }
            order_memory();
            for (int64_t tile = 0; tile < tiles_; ++tile) add_values(tile);
        }
        close();
    }

private:
    int64_t token_of(int64_t query) const { return token_ + query / heads_; }
    const float* query_row(int64_t query) const {
        return args_.q + token_of(query) * args_.q_stride + (head_ + query % heads_) * dim_;
    }

    void open() {
        seen_ = seen_range(args_, token_);
        for (int64_t i = 0; i < tiles_ * kTileQueries; ++i) {
            // Lanes without a query see nothing.
            const bool present = i < count_;
            const SeenRange seen = present ? seen_range(args_, token_of(i)) : SeenRange{0, 0};
            if (present && seen.begin < seen_.begin) seen_.begin = seen.begin;
            if (present && seen.end > seen_.end) seen_.end = seen.end;
            const float sink =
                present && args_.sinks != nullptr ? args_.sinks[head_ + i % heads_] : -HUGE_VALF;
            memory_.begin[i] = static_cast<int32_t>(seen.begin);
            memory_.end[i] = static_cast<int32_t>(seen.end);
            memory_.maximum[i] = sink > kNothingSeen ? sink : kNothingSeen;
            memory_.denominator[i] = expf(sink - memory_.maximum[i]);
        }
        for (int64_t tile = 0; tile < tiles_; ++tile) {
            for (int64_t step = 0; step < steps_; ++step) arrange_queries(tile, step);
            memset(memory_.sums[tile], 0, sizeof memory_.sums[tile]);
        }
    }

    // Columns 32 * step and up; those beyond the head are zero.
    void arrange_queries(int64_t tile, int64_t step) {
        __m512i pairs[kTileQueries];
        __m512i lost[kTileQueries];
        const __m512 scale = _mm512_set1_ps(args_.scale);
        for (int64_t i = 0; i < kTileQueries; ++i) {
            const int64_t query = tile * kTileQueries + i;
            pairs[i] = lost[i] = _mm512_setzero_si512();
            if (query >= count_) continue;
            const float* q = query_row(query) + 32 * step;
            const __m512 low = _mm512_mul_ps(_mm512_loadu_ps(q), scale);
            const __m512 high =
                has_second_half(step) ? _mm512_mul_ps(_mm512_loadu_ps(q + 16), scale) : _mm512_setzero_ps();
            pairs[i] = (__m512i)_mm512_cvtne2ps_pbh(high, low);
            const __m512 kept_low = widened(_mm512_castsi512_si256(pairs[i]));
            const __m512 kept_high = widened(_mm512_extracti64x4_epi64(pairs[i], 1));
            lost[i] =
                (__m512i)_mm512_cvtne2ps_pbh(_mm512_sub_ps(high, kept_high), _mm512_sub_ps(low, kept_low));
        }
        transpose_16x16(pairs);
        transpose_16x16(lost);
        for (int64_t i = 0; i < kTileQueries; ++i) {
            _mm512_storeu_si512(memory_.queries[tile][step][0] + 32 * i, pairs[i]);
            _mm512_storeu_si512(memory_.queries[tile][step][1] + 32 * i, lost[i]);
        }
    }

    static LLMCORE_INLINE __m512 widened(__m256i bf16) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
    }

    bool has_second_half(int64_t step) const { return 32 * step + 16 < dim_; }

    // Keys and values of kBlockKeys positions; past the end the last one repeats.
    void convert_keys(int64_t begin) {
        const KvView& kv = args_.kv;
        const int32_t* blocks = args_.block_table + args_.token_sequence[token_] * args_.block_table_stride;
        const char* values[kBlockKeys];
        for (int64_t i = 0; i < kBlockKeys; ++i) {
            const int64_t position = begin + i < seen_.end ? begin + i : seen_.end - 1;
            const int64_t block = blocks[position / kv.block_tokens];
            const int64_t row = position % kv.block_tokens * Rows::bytes(dim_);
            convert_key(head_block(kv, block, kv_head_, false) + row, i);
            values[i] = head_block(kv, block, kv_head_, true) + row;
        }
        for (int64_t i = 0; i < kBlockKeys; i += 2)
            for (int64_t part = 0; part < dim_ / 16; ++part) {
                const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(Rows::load(values[i + 1], 16 * part).v,
                                                                  Rows::load(values[i], 16 * part).v);
                _mm512_storeu_si512(memory_.values[i / 32][part] + 32 * (i % 32 / 2), interleaved(both));
            }
    }

    void convert_key(const char* key, int64_t i) {
        for (int64_t step = 0; step < steps_; ++step) {
            const __m512 low = Rows::load(key, 32 * step).v;
            const __m512 high =
                has_second_half(step) ? Rows::load(key, 32 * step + 16).v : _mm512_setzero_ps();
            store_bf16(memory_.keys[i] + 32 * step, low, high);
        }
    }

    // The words of both halves in turns.
    static LLMCORE_INLINE __m512i interleaved(__m512i halves) {
        alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                            21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                            11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
        return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), halves);
    }

    void score(int64_t tile) {
        constexpr int64_t kStride = sizeof memory_.keys[0];
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t step = 0; step < steps_; ++step) {
            _tile_loadd(6, memory_.queries[tile][step][0], kTileRowBytes);
            _tile_loadd(7, memory_.queries[tile][step][1], kTileRowBytes);
            _tile_loadd(4, memory_.keys[0] + 32 * step, kStride);
            _tile_loadd(5, memory_.keys[16] + 32 * step, kStride);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 5, 6);
            _tile_dpbf16ps(0, 4, 7);
            _tile_dpbf16ps(1, 5, 7);
            _tile_loadd(4, memory_.keys[32] + 32 * step, kStride);
            _tile_loadd(5, memory_.keys[48] + 32 * step, kStride);
            _tile_dpbf16ps(2, 4, 6);
            _tile_dpbf16ps(3, 5, 6);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, memory_.scores[0], kTileRowBytes);
        _tile_stored(1, memory_.scores[16], kTileRowBytes);
        _tile_stored(2, memory_.scores[32], kTileRowBytes);
        _tile_stored(3, memory_.scores[48], kTileRowBytes);
    }

    // Scores of a block to weights, and the queries' maxima and denominators to those after it.
    void weigh(int64_t tile, int64_t begin) {
        const int64_t lanes = tile * kTileQueries;
        const __m512i first = _mm512_loadu_si512(memory_.begin + lanes);
        const __m512i end = _mm512_loadu_si512(memory_.end + lanes);
        const Vec cap = Vec::set(args_.softcap);
        const Vec inverse_cap = Vec::set(args_.softcap > 0 ? 1 / args_.softcap : 0);
        const __m512 unseen = _mm512_set1_ps(-HUGE_VALF);
        const Vec before = Vec::load(memory_.maximum + lanes);
        Vec largest = before;
        for (int64_t i = 0; i < kBlockKeys; ++i) {
            Vec score = Vec::load(memory_.scores[i]);
            if (args_.softcap > 0) score = cap * hyperbolic_tangent(score * inverse_cap);
            const __m512i position = _mm512_set1_epi32(static_cast<int>(begin + i));
            const auto seen = static_cast<__mmask16>(_mm512_cmple_epi32_mask(first, position) &
                                                     _mm512_cmpgt_epi32_mask(end, position));
            score = {_mm512_mask_mov_ps(unseen, seen, score.v)};
            score.store(memory_.scores[i]);
            largest = max(largest, score);
        }
        Vec total = Vec::set(0);
        for (int64_t half = 0; half < kBlockKeys / 32; ++half) {
            __m512i pairs[kTileRows];
            for (int64_t i = 0; i < kTileRows; ++i) {
                const Vec even = exponential(Vec::load(memory_.scores[32 * half + 2 * i]) - largest);
                const Vec odd = exponential(Vec::load(memory_.scores[32 * half + 2 * i + 1]) - largest);
                total = total + (even + odd);
                pairs[i] = interleaved((__m512i)_mm512_cvtne2ps_pbh(odd.v, even.v));
            }
            transpose_16x16(pairs);
            for (int64_t i = 0; i < kTileRows; ++i)
                _mm512_storeu_si512(memory_.weights[tile][half] + 32 * i, pairs[i]);
        }
        const Vec shrink = exponential(before - largest);
        shrink.store(memory_.shrink + lanes);
        largest.store(memory_.maximum + lanes);
        fma(Vec::load(memory_.denominator + lanes), shrink, total).store(memory_.denominator + lanes);
    }

    void shrink_sums(int64_t tile) {
        for (int64_t row = 0; row < kTileQueries; ++row) {
            const float shrink = memory_.shrink[tile * kTileQueries + row];
            if (shrink == 1) continue;
            for (int64_t part = 0; part < dim_ / 16; ++part) {
                float* sums = memory_.sums[tile][part] + row * 16;
                (Vec::load(sums) * Vec::set(shrink)).store(sums);
            }
        }
    }

    // Two tiles of columns at a time, so that one product need not wait for the other's sums.
    void add_values(int64_t tile) {
        shrink_sums(tile);
        order_memory();
        _tile_loadd(4, memory_.weights[tile][0], kTileRowBytes);
        _tile_loadd(5, memory_.weights[tile][1], kTileRowBytes);
        int64_t part = 0;
        for (; part + 2 <= dim_ / 16; part += 2) {
            float* sums = memory_.sums[tile][part];
            _tile_loadd(0, sums, kTileRowBytes);
            _tile_loadd(1, sums + kTileFloats, kTileRowBytes);
            _tile_loadd(6, memory_.values[0][part], kTileRowBytes);
            _tile_loadd(7, memory_.values[0][part + 1], kTileRowBytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(6, memory_.values[1][part], kTileRowBytes);
            _tile_loadd(7, memory_.values[1][part + 1], kTileRowBytes);
            _tile_dpbf16ps(0, 5, 6);
            _tile_dpbf16ps(1, 5, 7);
            _tile_stored(0, sums, kTileRowBytes);
            _tile_stored(1, sums + kTileFloats, kTileRowBytes);
        }
        if (part == dim_ / 16) return;
        _tile_loadd(0, memory_.sums[tile][part], kTileRowBytes);
        _tile_loadd(6, memory_.values[0][part], kTileRowBytes);
        _tile_loadd(7, memory_.values[1][part], kTileRowBytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(0, 5, 7);
        _tile_stored(0, memory_.sums[tile][part], kTileRowBytes);
    }

    void close() {
        for (int64_t i = 0; i < count_; ++i) {
            const float denominator = memory_.denominator[i];
            const Vec factor = Vec::set(denominator == 0 ? 0 : 1 / denominator);  // nothing seen: zeros
            float* out = args_.out + token_of(i) * args_.out_stride + (head_ + i % heads_) * dim_;
            for (int64_t part = 0; part < dim_ / 16; ++part) {
                const float* sums = memory_.sums[i / kTileQueries][part] + i % kTileQueries * 16;
                (Vec::load(sums) * factor).store(out + 16 * part);
            }
        }
    }

    const AttentionArgs& args_;
    TileAttentionMemory& memory_;
    int64_t kv_head_, token_, head_, heads_, count_;
    int64_t tiles_;  // of queries
    int64_t dim_;
    int64_t steps_;        // of 32 columns
    SeenRange seen_ = {};  // what any query sees
};

template <class Rows>
bool tile_attention_supports(const Shape* shape) {
    return attention_supports<Rows>(shape) && shape->head_dim <= kMaxTileDim;
}

template <class Rows>
size_t tile_attention_workspace(const Shape* shape) {
    return sizeof(TileAttentionMemory) + 64 + attention_workspace<Rows>(shape);
}

template <class Rows>
void tile_attention_run(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const AttentionArgs& args = *static_cast<const AttentionArgs*>(base);
    auto& memory = *reinterpret_cast<TileAttentionMemory*>(align_64(workspace));
    const int64_t group = args.n_heads / args.kv.n_kv_heads;
    const int64_t most = group < kBlockQueries ? kBlockQueries / group : 1;  // tokens at a time
    for (int64_t item = row_begin; item < row_end;) {
        const int64_t token = item % args.n_tokens;
        const int64_t kv_head = item / args.n_tokens;
        int64_t tokens = 1;
        while (tokens < most && item + tokens < row_end && token + tokens < args.n_tokens &&
               args.token_sequence[token + tokens] == args.token_sequence[token])
            ++tokens;
        if (tokens * group < kFewestTileQueries) {
            attention_run<Rows>(base, item, item + tokens, &memory + 1);
        } else {
            const TileScope scope;
            for (int64_t head = 0; head < group; head += kBlockQueries) {
                const int64_t heads = group - head < kBlockQueries ? group - head : kBlockQueries;
                TileAttention<Rows>(args, memory, kv_head, token, tokens, kv_head * group + head, heads)
                    .run();
            }
        }
        item += tokens;
    }
}

}  // namespace
}  // namespace llmcore
