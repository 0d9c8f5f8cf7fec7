// Linears of formats that are slow to unpack: for many tokens, sixteen rows at a time are unpacked once into
// the workspace, and every token meets those.
#pragma once

#include "kernels/cpu/linear_q8x256_avx2.h"

namespace llmcore {
namespace {

// What a super-block's integers are multiplied with.
struct Scales {
    __m256i packed_scales;  // as pick_scale() takes them
    __m256i bias;

    template <int J>
    LLMCORE_INLINE __m256i scale() const {
        return pick_scale<J>(packed_scales);
    }
};

constexpr int64_t kExpandTokens = kTokenTile + 1;  // those that would unpack a row twice

struct ExpandedBlock {
    uint8_t q[256];
    int16_t packed_scales[16];
    int16_t bias[16];
    float d;
    float padding[7];
};

// `Weights` of Q8x256Dot: Scales, with Bias::integer.
template <class Weights>
struct ExpandedWeights : Scales {
    using Block = ExpandedBlock;
    static constexpr bool kSigned = false;
    static constexpr Bias kBias = Bias::integer;
    static constexpr int kBiasShift = Weights::kBiasShift;
    const Block* block;
    float d;

    explicit LLMCORE_INLINE ExpandedWeights(const Block* from)
        : Scales{load_256(from->packed_scales), load_256(from->bias)}, block(from), d(from->d) {}

    static LLMCORE_INLINE void fill(const typename Weights::Block* from, Block* block) {
        const Weights w(from);
        unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
            constexpr int kJ = decltype(j)::value;
            store_256(block->q + 32 * kJ, w.template q<kJ>());
        });
        store_256(block->packed_scales, w.packed_scales);
        store_256(block->bias, w.bias);
        block->d = w.d;
    }

    template <int J>
    LLMCORE_INLINE __m256i q() const {
        return load_256(block->q + 32 * J);
    }
};

template <class Weights>
void run_expanded(const Args* base, int64_t row_begin, int64_t row_end, void* workspace) {
    const LinearArgs& args = *static_cast<const LinearArgs*>(base);
    if (args.m < kExpandTokens) return linear_run<Q8x256Dot<Weights>>(base, row_begin, row_end, workspace);
    auto* blocks = static_cast<ExpandedBlock*>(workspace);
    const int64_t n_blocks = args.k / 256;
    for (int64_t begin = row_begin; begin < row_end; begin += kRowTile) {
        const int64_t end = begin + kRowTile < row_end ? begin + kRowTile : row_end;
        for (int64_t row = begin; row < end; ++row) {
            const char* raw = static_cast<const char*>(args.weight) + row * args.weight_row_bytes;
            const auto* from = reinterpret_cast<const typename Weights::Block*>(raw);
            for (int64_t i = 0; i < n_blocks; ++i)
                ExpandedWeights<Weights>::fill(from + i, blocks + (row - begin) * n_blocks + i);
        }
        LinearArgs expanded = args;
        expanded.weight = blocks;
        expanded.weight_row_bytes = n_blocks * static_cast<int64_t>(sizeof(ExpandedBlock));
        expanded.out_offset = args.out_offset - begin;
        linear_run<Q8x256Dot<ExpandedWeights<Weights>>>(&expanded, 0, end - begin, nullptr);
    }
}

size_t expanded_bytes(const Shape* shape) {
    if (shape->m < kExpandTokens) return 0;
    return static_cast<size_t>(kRowTile * shape->k / 256) * sizeof(ExpandedBlock);
}

}  // namespace
}  // namespace llmcore
