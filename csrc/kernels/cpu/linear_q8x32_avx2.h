// Dot products of blocks of 32 weights with activations in Layout::q8_32.
//
// `Weights` describes a format:
//     using Block; constexpr bool kSigned; constexpr Offset kOffset; constexpr float kZero
//     (Offset::zero_point); static __m256i q(const Block&): 32 bytes, int8 if kSigned, otherwise 0 to 127;
//     where the scale is not a half named d: static __m256 scales(const Block* eight), and the same of
//     `count` < 8 blocks: scales(const Block* blocks, int count).
#pragma once

#include "kernels/cpu/linear_groups_avx2.h"

namespace llmcore {
namespace {

enum class Offset {
    none,        // value = d * q
    zero_point,  // value = d * (q - kZero)
    minimum,     // value = d * q + m
};

// Scales that the format brings itself.
template <class Weights>
concept OwnScales = requires(const typename Weights::Block* blocks) { Weights::scales(blocks); };

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

// Eight 16-bit words at distances of `Stride` bytes: each taken from a load that begins where its lane is the
// word wanted, so that none reaches beyond the eight blocks.
template <int Stride>
LLMCORE_INLINE __m128i gather_words(const void* first) {
    static_assert(Stride >= 16);
    const char* p = static_cast<const char*>(first);
    __m128i words = load_128(p);
    unrolled<1, 8>([&](auto j) __attribute__((always_inline)) {
        constexpr int kJ = decltype(j)::value;
        words = _mm_blend_epi16(words, load_128(p + kJ * (Stride - 2)), 1 << kJ);
    });
    return words;
}

// The same for four 32-bit words.
template <int Stride>
LLMCORE_INLINE __m128i gather_pairs(const char* p) {
    const __m128i a = _mm_blend_epi32(load_128(p), load_128(p + (Stride - 4)), 2);
    const __m128i b = _mm_blend_epi32(load_128(p + 2 * (Stride - 4)), load_128(p + 3 * (Stride - 4)), 8);
    return _mm_blend_epi32(a, b, 12);
}

// d and m of eight blocks, which stand side by side.
template <class Block>
LLMCORE_INLINE GroupScales gather_scales_and_minimums(const Block* blocks) {
    constexpr int kStride = static_cast<int>(sizeof(Block));
    static_assert(offsetof(Block, m) == offsetof(Block, d) + 2 && kStride >= 16);
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const char* p = reinterpret_cast<const char*>(&blocks->d);
    const __m128i low = _mm_shuffle_epi8(gather_pairs<kStride>(p), apart);
    const __m128i high = _mm_shuffle_epi8(gather_pairs<kStride>(p + 4 * kStride), apart);
    return {_mm256_cvtph_ps(_mm_unpacklo_epi64(low, high)), _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high))};
}

template <class Weights>
LLMCORE_INLINE GroupScales open_full_group(const typename Weights::Block* blocks) {
    if constexpr (OwnScales<Weights>) {
        return with_offset<Weights>(Weights::scales(blocks));
    } else {
        if constexpr (Weights::kOffset == Offset::minimum) return gather_scales_and_minimums(blocks);
        return with_offset<Weights>(_mm256_cvtph_ps(gather_words<sizeof(*blocks)>(&blocks->d)));
    }
}

// Blocks of 32 as GroupsDot takes them.
template <class Weights>
struct BlockGroups {
    using Block = typename Weights::Block;
    static constexpr int kBytes = 8 * static_cast<int>(sizeof(Block));
    static constexpr bool kSigned = Weights::kSigned;
    static constexpr bool kOffset = Weights::kOffset != Offset::none;
    static constexpr bool kPartial = true;

    static LLMCORE_INLINE GroupScales open(const char* group) {
        return open_full_group<Weights>(reinterpret_cast<const Block*>(group));
    }

    static LLMCORE_INLINE GroupScales open(const char* group, int count) {
        return open_group<Weights>(reinterpret_cast<const Block*>(group), count);
    }

    template <int J>
    static LLMCORE_INLINE __m256i q(const char* group) {
        return Weights::q(reinterpret_cast<const Block*>(group)[J]);
    }
};

template <class Weights>
using Q8x32Dot = GroupsDot<BlockGroups<Weights>>;

bool q8x32_supports(const Shape* shape) { return shape->k > 0 && shape->k % 32 == 0; }

}  // namespace
}  // namespace llmcore
