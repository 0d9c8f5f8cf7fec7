// The outer loops of the AVX2 and NEON linears: which rows meet which tokens, and in what order.
#pragma once

#include "kernels/cpu/unrolled.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

// A weight is unpacked once for this many tokens; more would not fit in 16 vector registers.
constexpr int kTokenTile = 4;
// Rows that pass by a token tile before the next tile's activations replace it in L1.
constexpr int64_t kRowTile = 16;
// Far enough ahead to hide DRAM's latency at one row a time.
constexpr int64_t kPrefetchBytes = 3072;

// What one dot product of a weight row with T activation rows reads.
struct DotInput {
    const char* weight;
    const char* act;
    int64_t act_row_bytes;
    int64_t k;
    int64_t ahead;  // bytes to prefetch ahead of the weight
};

template <int Bytes>
LLMCORE_INLINE void prefetch(const char* address) {
    for (int i = 0; i < Bytes; i += 64) __builtin_prefetch(address + i);
}

template <class Dot, int T>
void multiply_rows(const LinearArgs& args, int64_t token, int64_t row_begin, int64_t row_end, int64_t ahead) {
    const char* weight = static_cast<const char*>(args.weight);
    const char* act = static_cast<const char*>(args.act) + token * args.act_row_bytes;
    for (int64_t row = row_begin; row < row_end; ++row) {
        float sums[T];
        Dot::template run<T>({weight + row * args.weight_row_bytes, act, args.act_row_bytes, args.k, ahead},
                             sums);
        for (int t = 0; t < T; ++t) args.out[(token + t) * args.out_stride + row - args.out_offset] = sums[t];
    }
}

template <class Dot>
void linear_run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const LinearArgs& args = *static_cast<const LinearArgs*>(base);
    for (int64_t begin = row_begin; begin < row_end; begin += kRowTile) {
        const int64_t end = begin + kRowTile < row_end ? begin + kRowTile : row_end;
        for (int64_t token = 0; token < args.m; token += kTokenTile) {
            const int64_t ahead =
                token == 0 ? kPrefetchBytes : 0;  // the tile's other passes find the rows in cache
            switch (args.m - token) {
                case 1:
                    multiply_rows<Dot, 1>(args, token, begin, end, ahead);
                    break;
                case 2:
                    multiply_rows<Dot, 2>(args, token, begin, end, ahead);
                    break;
                case 3:
                    multiply_rows<Dot, 3>(args, token, begin, end, ahead);
                    break;
                default:
                    multiply_rows<Dot, kTokenTile>(args, token, begin, end, ahead);
                    break;
            }
        }
    }
}

// Nanoseconds: weights stream once at about 12 bytes a nanosecond, tokens multiply at `macs_per_ns`.
LLMCORE_INLINE double linear_cost(const Shape* shape, double bytes_per_weight, double macs_per_ns) {
    const double weights = static_cast<double>(shape->n) * static_cast<double>(shape->k);
    return 10 + weights * (bytes_per_weight / 12 + static_cast<double>(shape->m) / macs_per_ns);
}

}  // namespace
}  // namespace llmcore
