// Dot products of blocks of 32 weights with activations in Layout::q8_32, eight blocks at a time: scales and
// offsets of eight blocks are one vector, and what a block still needs is its products and one broadcast.
//
// `Weights` describes a format:
//     using Block; constexpr bool kSigned; constexpr Offset kOffset; constexpr float kZero
//     (Offset::zero_point); static __m256i q(const Block&): 32 bytes, int8 if kSigned, otherwise 0 to 127;
//     where the scale is not a half named d: static __m256 scales(const Block* blocks, int count), of
//     `count` <= 8 blocks.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

enum class Offset {
    none,        // value = d * q
    zero_point,  // value = d * (q - kZero)
    minimum,     // value = d * q + m
};

// Blocks [0, count) of a group of eight; what is missing has the scale 0.
struct GroupScales {
    __m256 d;
    __m256 offset;  // multiplies the activations' sums
};

// Scales that the format brings itself.
template <class Weights>
concept OwnScales = requires(const typename Weights::Block* blocks) { Weights::scales(blocks, 8); };

template <class Weights>
LLMCORE_INLINE GroupScales with_offset(__m256 scale) {
    if constexpr (Weights::kOffset == Offset::zero_point) {
        return {scale, _mm256_mul_ps(scale, _mm256_set1_ps(-Weights::kZero))};
    }
    return {scale, scale};
}

template <class Weights>
LLMCORE_INLINE GroupScales open_group(const typename Weights::Block* blocks, int count) {
    if constexpr (OwnScales<Weights>) {
        return with_offset<Weights>(Weights::scales(blocks, count));
    } else {
        alignas(16) uint16_t d[8] = {};
        alignas(16) uint16_t m[8] = {};
        for (int j = 0; j < count; ++j) {
            d[j] = blocks[j].d;
            if constexpr (Weights::kOffset == Offset::minimum) m[j] = blocks[j].m;
        }
        const __m256 scale = _mm256_cvtph_ps(load_128(d));
        if constexpr (Weights::kOffset == Offset::minimum) return {scale, _mm256_cvtph_ps(load_128(m))};
        return with_offset<Weights>(scale);
    }
}

// Eight halves at distances of `stride` bytes. Inserted one by one: a load from eight small stores would wait
// for them.
template <int Stride>
LLMCORE_INLINE __m256 gather_halves(const void* first) {
    const char* p = static_cast<const char*>(first);
    __m128i halves = _mm_setzero_si128();
    unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
        constexpr int kJ = decltype(j)::value;
        uint16_t half;
        memcpy(&half, p + kJ * Stride, 2);
        halves = _mm_insert_epi16(halves, half, kJ);
    });
    return _mm256_cvtph_ps(halves);
}

template <class Weights>
LLMCORE_INLINE GroupScales open_full_group(const typename Weights::Block* blocks) {
    if constexpr (OwnScales<Weights>) {
        return with_offset<Weights>(Weights::scales(blocks, 8));
    } else {
        constexpr int kStride = static_cast<int>(sizeof(*blocks));
        const __m256 scale = gather_halves<kStride>(&blocks->d);
        if constexpr (Weights::kOffset == Offset::minimum) return {scale, gather_halves<kStride>(&blocks->m)};
        return with_offset<Weights>(scale);
    }
}

template <class Weights>
struct Q8x32Dot {
    using Block = typename Weights::Block;

    template <int T>
    struct Totals {
        static constexpr int kChains =
            T == 1 ? 4 : 1;  // one token alone is one chain of additions: break it in four
        __m256 value[T][kChains];
        __m256 offset[T];
    };

    // The scales of weights times those of the activations, and the group's offsets.
    template <int T>
    static LLMCORE_INLINE void scale_group(const GroupScales& scales, const DotInput& in,
                                           const Q8x32Layout& layout, int64_t block, float (*scale)[8],
                                           Totals<T>& totals) {
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const char* act = in.act + kT * in.act_row_bytes + block * 4;
            const __m256 d = _mm256_loadu_ps(reinterpret_cast<const float*>(act + layout.d_offset));
            _mm256_store_ps(scale[kT], _mm256_mul_ps(scales.d, d));
            if constexpr (Weights::kOffset != Offset::none) {
                const __m256 sum = _mm256_loadu_ps(reinterpret_cast<const float*>(act + layout.dsum_offset));
                totals.offset[kT] = _mm256_fmadd_ps(scales.offset, sum, totals.offset[kT]);
            }
        });
    }

    template <int T, int Chain>
    static LLMCORE_INLINE void add_block(const Block& weight, const DotInput& in, int64_t column,
                                         const float (*scale)[8], int j, Totals<T>& totals) {
        const __m256i q = Weights::q(weight);
        const __m256i magnitudes = Weights::kSigned ? _mm256_abs_epi8(q) : q;
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            __m256i act = load_256(in.act + kT * in.act_row_bytes + column);
            if constexpr (Weights::kSigned) act = _mm256_sign_epi8(act, q);
            const __m256i fours = add_four_products(_mm256_setzero_si256(), magnitudes, act);
            const __m256 dot = _mm256_cvtepi32_ps(fours);
            __m256& total = totals.value[kT][Chain];
            total = _mm256_fmadd_ps(dot, _mm256_set1_ps(scale[kT][j]), total);
        });
    }

    template <int T>
    static LLMCORE_INLINE void run(const DotInput& in, float* sums) {
        constexpr int kChains = Totals<T>::kChains;
        const Q8x32Layout layout = q8x32_layout(in.k);
        const Block* weight = reinterpret_cast<const Block*>(in.weight);
        const int64_t blocks = in.k / 32;
        alignas(32) float scale[T][8];
        Totals<T> totals;
        for (int t = 0; t < T; ++t) {
            for (int c = 0; c < kChains; ++c) totals.value[t][c] = _mm256_setzero_ps();
            totals.offset[t] = _mm256_setzero_ps();
        }
        int64_t block = 0;
        for (; block + 8 <= blocks; block += 8) {
            const Block* group = weight + block;
            prefetch<8 * static_cast<int>(sizeof(Block))>(reinterpret_cast<const char*>(group) + in.ahead);
            scale_group<T>(open_full_group<Weights>(group), in, layout, block, scale, totals);
            unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
                constexpr int kJ = decltype(j)::value;
                add_block<T, kJ % kChains>(group[kJ], in, (block + kJ) * 32, scale, kJ, totals);
            });
        }
        if (block < blocks) {
            const int count = static_cast<int>(blocks - block);
            scale_group<T>(open_group<Weights>(weight + block, count), in, layout, block, scale, totals);
            for (int j = 0; j < count; ++j) {
                add_block<T, 0>(weight[block + j], in, (block + j) * 32, scale, j, totals);
            }
        }
        for (int t = 0; t < T; ++t) {
            __m256 total = totals.value[t][0];
            for (int c = 1; c < kChains; ++c) total = _mm256_add_ps(total, totals.value[t][c]);
            sums[t] = sum_of(_mm256_add_ps(total, totals.offset[t]));
        }
    }
};

bool q8x32_supports(const Shape* shape) { return shape->k > 0 && shape->k % 32 == 0; }

}  // namespace
}  // namespace llmcore
