// The loop of the scalar attention kernels: softmax over the cache with running maximum, in double, so that
// the workspace does not grow with the context (Milakov and Gimelshein 2018). `Rows` says how a cached row is
// read.
#pragma once

#include <math.h>

#include "kernels/cpu/cached_rows_scalar.h"
#include "kernels/cpu/paged_cache.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

template <class Rows>
bool attention_supports(const Shape* shape) {
    return is_grouped(shape) && shape->head_dim % Rows::kGroup == 0;
}

double attention_cost(const Shape* shape) {
    return 50 +
           1000.0 * static_cast<double>(shape->m) * static_cast<double>(shape->n_heads * shape->head_dim);
}

size_t attention_workspace(const Shape* shape) {
    return static_cast<size_t>(shape->head_dim) * sizeof(double);
}

template <class Rows>
void attend(const AttentionArgs& args, int64_t token, int64_t kv_head, int64_t head, double* sum) {
    const KvView& kv = args.kv;
    const int64_t dim = kv.head_dim;
    const float* q = args.q + token * args.q_stride + head * dim;
    const int32_t* blocks = args.block_table + args.token_sequence[token] * args.block_table_stride;
    const SeenRange seen = seen_range(args, token);
    double maximum = args.sinks != nullptr ? args.sinks[head] : -HUGE_VAL;
    double denominator = args.sinks != nullptr ? 1 : 0;
    for (int64_t i = 0; i < dim; ++i) sum[i] = 0;
    for (int64_t position = seen.begin; position < seen.end; ++position) {
        const int64_t block = blocks[position / kv.block_tokens];
        const int64_t offset = position % kv.block_tokens * Rows::bytes(dim);
        const char* key = head_block(kv, block, kv_head, false) + offset;
        const char* value = head_block(kv, block, kv_head, true) + offset;
        double score = 0;
        for (int64_t i = 0; i < dim; ++i) score += static_cast<double>(q[i]) * Rows::at(key, i);
        score *= args.scale;
        if (args.softcap > 0) score = args.softcap * tanh(score / args.softcap);
        if (score > maximum) {
            const double shrink = exp(maximum - score);
            maximum = score;
            denominator *= shrink;
            for (int64_t i = 0; i < dim; ++i) sum[i] *= shrink;
        }
        // A score of minus infinity is masked; the test also keeps inf - inf out of the exponential.
        const double weight = score == -HUGE_VAL ? 0 : exp(score - maximum);
        denominator += weight;
        for (int64_t i = 0; i < dim; ++i) sum[i] += weight * Rows::at(value, i);
    }
    const double factor = denominator > 0 ? 1 / denominator : 0;  // nothing seen: zeros
    float* out = args.out + token * args.out_stride + head * dim;
    for (int64_t i = 0; i < dim; ++i) out[i] = static_cast<float>(sum[i] * factor);
}

template <class Rows>
void attention_run(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const AttentionArgs& args = *static_cast<const AttentionArgs*>(base);
    const int64_t group = args.n_heads / args.kv.n_kv_heads;
    for (int64_t item = row_begin; item < row_end; ++item) {
        const int64_t kv_head = item / args.n_tokens;
        for (int64_t i = 0; i < group; ++i) {
            attend<Rows>(args, item % args.n_tokens, kv_head, kv_head * group + i,
                         static_cast<double*>(workspace));
        }
    }
}

}  // namespace
}  // namespace llmcore
