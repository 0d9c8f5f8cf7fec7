// What the kernels of attention_decode share that use tensor cores: a warp has 16 tokens at a time, lane
// 4 g + t the scores of query g with tokens 2 t, 2 t + 1, 2 t + 8 and 2 t + 9. The mma has 16 rows and a CTA
// at most 8 queries: the rows g + 8 hold what rounding query g (or its weights) to F16 has lost.
#pragma once

#include "cuda/kernels/attention_device.h"

namespace llmcore::cuda {

constexpr int kUnit = 16;  // tokens of a warp's step

// A value's F16 and, in `rest`, that of what it lost.
SIMT_DEVICE uint32_t split_halves(float low, float high, uint32_t& rest) {
    const uint32_t halves = pack_halves(low, high);
    const float2 rounded = unpack_halves(halves);
    rest = pack_halves(low - rounded.x, high - rounded.y);
    return halves;
}

struct QueryWords {
    uint4 halves, rest;
};
// Of eight dimensions, four from `first` and four from `second`.
SIMT_DEVICE QueryWords split_query(const float* first, const float* second, bool is_valid, float factor) {
    QueryWords words = {make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)};
    if (!is_valid) return words;
    const float4 a = *reinterpret_cast<const float4*>(first);
    const float4 b = *reinterpret_cast<const float4*>(second);
    words.halves.x = split_halves(a.x * factor, a.y * factor, words.rest.x);
    words.halves.y = split_halves(a.z * factor, a.w * factor, words.rest.y);
    words.halves.z = split_halves(b.x * factor, b.y * factor, words.rest.z);
    words.halves.w = split_halves(b.z * factor, b.w * factor, words.rest.w);
    return words;
}

// Adds the products of eight dimensions of eight keys: rows g with the query, rows g + 8 with its rest.
SIMT_DEVICE void add_products(float (&products)[4], const QueryWords& query, uint32_t k0, uint32_t k1,
                              uint32_t k2, uint32_t k3) {
    mma_f16(products, query.halves.x, query.rest.x, query.halves.y, query.rest.y, k0, k1);
    mma_f16(products, query.halves.z, query.rest.z, query.halves.w, query.rest.w, k2, k3);
}

// Makes a lane's scores weights. Gives what all sums until now are to be multiplied by.
SIMT_DEVICE float weigh_scores(float (&scores)[4], float& maximum, float& denominator) {
    float top = maximum;
#pragma unroll
    for (int i = 0; i < 4; ++i) top = fmaxf(top, scores[i]);
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
    const float shrink = weight_of(maximum, top);
    maximum = top;
    denominator *= shrink;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        scores[i] = weight_of(scores[i], top);
        denominator += scores[i];
    }
    return shrink;
}

// Leaves what a warp's lanes have beside their sums for finish_decode(). `denominator`: of a lane's tokens.
SIMT_DEVICE void leave_weights(const DecodeWork& work, const DecodeShared& shared, float maximum,
                               float denominator) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int at = static_cast<int>(threadIdx.x) / kWarp * kQueries + lane / 4;
    denominator += __shfl_xor_sync(kFullWarp, denominator, 1);
    denominator += __shfl_xor_sync(kFullWarp, denominator, 2);
    if (lane % 4 != 0) return;
    shared.maxima[at] = lane / 4 < work.n_queries ? maximum : -INFINITY;
    shared.denominators[at] = denominator;
}

}  // namespace llmcore::cuda
