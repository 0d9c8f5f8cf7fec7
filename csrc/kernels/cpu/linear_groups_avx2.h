// Dot products of groups of 256 weights, a scale for 32, with activations in Layout::q8_32. What a row's
// scales and offsets need is done first, some groups ahead, into memory: what 32 weights then need is their
// products and a load that repeats their scale, and nothing waits.
//
// `Groups` describes a format:
//     constexpr int kBytes of a group; constexpr bool kSigned, kOffset; constexpr bool kPartial: rows may end
//     within a group, at a multiple of 32; static GroupScales open(const char* group), or PairScales where
//     fewer than 32 share a scale; if kPartial, static GroupScales open(const char* group, int count);
//     template <int J> static __m256i q(const char* group): weights 32J to 32J + 31, int8 if kSigned,
//     otherwise 0 to 127.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

// Of eight blocks of 32. What is missing has any finite scale, for its activations are zeros.
struct GroupScales {
    static constexpr bool kOfPairs = false;
    __m256 d;
    __m256 offset;  // multiplies the activations' sums
};

// Scales of 16: integers that multiply sums of pairs, and what multiplies all of 256.
struct PairScales {
    static constexpr bool kOfPairs = true;
    __m256i pairs;  // as scales_of_16 leaves them
    __m256i bias;   // sixteen int16 that multiply the activations' sums of 16
    __m256 d, bias_d;
};

// Scales of 16 weights: the even ones as int16 in the lower half, the odd ones in the upper, so that
// pick_scale<J> is one shuffle.
LLMCORE_INLINE __m256i scales_of_16(__m128i bytes) {
    const __m128i evens_first = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, evens_first));
}

// Two of sixteen scales, for the pairs of their 16 weights.
template <int J>
LLMCORE_INLINE __m256i pick_scale(__m256i scales) {
    return _mm256_shuffle_epi8(scales, _mm256_set1_epi16(static_cast<short>((2 * J + 1) << 8 | 2 * J)));
}

template <class Groups>
struct GroupsDot {
    template <int T>
    static LLMCORE_INLINE void run(const DotInput& in, float* sums) {
        const int64_t groups = in.k / 256;
        Sums<T> total;
        for (int64_t first = 0; first < groups; first += kAhead) {
            const int64_t left = groups - first;
            const int count = left < kAhead ? static_cast<int>(left) : kAhead;
            Scales<T> scales;
            for (int g = 0; g < count; ++g)
                store_scales<T>(Groups::open(in.weight + (first + g) * Groups::kBytes), in, first + g, g,
                                scales, total);
            for (int g = 0; g < count; ++g) {
                const char* group = in.weight + (first + g) * Groups::kBytes;
                prefetch<Groups::kBytes>(group + in.ahead);
                unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
                    multiply<T, decltype(j)::value>(group, in, first + g, g, scales, total);
                });
            }
        }
        if constexpr (Groups::kPartial) add_rest<T>(in, groups, total);
        for (int t = 0; t < T; ++t)
            sums[t] = sum_of(_mm256_add_ps(sum_of_chains(total.value[t]), total.offset[t]));
    }

private:
    // Groups. Where bytes take the time and not products, what is read early comes before it was prefetched.
    static constexpr int kAhead = Groups::kBytes > 192 ? 1 : 8;
    using Opened = decltype(Groups::open(nullptr));
    static constexpr bool kOfPairs = Opened::kOfPairs;

    template <int T>
    struct Sums {
        __m256 value[T][kChainsOf<T>];
        __m256 offset[T];

        LLMCORE_INLINE Sums() {
            for (int t = 0; t < T; ++t) {
                for (int c = 0; c < kChainsOf<T>; ++c) value[t][c] = _mm256_setzero_ps();
                offset[t] = _mm256_setzero_ps();
            }
        }
    };

    template <int T>
    struct Scales {
        alignas(32) float value[T][8 * kAhead];
        __m256i pairs[kOfPairs ? kAhead : 1];
    };

    // The scales of weights times those of the activations, and the group's offsets.
    template <int T>
    static LLMCORE_INLINE void store_scales(const Opened& opened, const DotInput& in, int64_t group,
                                            int index, Scales<T>& scales, Sums<T>& total) {
        const Q8x32Layout layout = q8x32_layout(in.k);
        if constexpr (kOfPairs) scales.pairs[index] = opened.pairs;
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const char* act = in.act + kT * in.act_row_bytes + group * 32;
            const __m256 d = _mm256_loadu_ps(reinterpret_cast<const float*>(act + layout.d_offset));
            __m256& offset = total.offset[kT];
            _mm256_store_ps(scales.value[kT] + 8 * index, _mm256_mul_ps(opened.d, d));
            if constexpr (kOfPairs) {
                const __m256i bias = _mm256_madd_epi16(opened.bias, load_256(act + layout.sums_offset));
                const __m256 bias_d = _mm256_mul_ps(opened.bias_d, d);
                offset = _mm256_fmadd_ps(_mm256_cvtepi32_ps(bias), bias_d, offset);
            }
            if constexpr (Groups::kOffset) {
                const __m256 sum = _mm256_loadu_ps(reinterpret_cast<const float*>(act + layout.dsum_offset));
                offset = _mm256_fmadd_ps(opened.offset, sum, offset);
            }
        });
    }

    template <int T, int J>
    static LLMCORE_INLINE void multiply(const char* weights, const DotInput& in, int64_t group, int index,
                                        const Scales<T>& scales, Sums<T>& total) {
        const __m256i q = Groups::template q<J>(weights);
        const __m256i magnitudes = Groups::kSigned ? _mm256_abs_epi8(q) : q;
        __m256i pair_scales;
        if constexpr (kOfPairs) pair_scales = pick_scale<J>(scales.pairs[index]);
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            __m256i act = load_256(in.act + kT * in.act_row_bytes + group * 256 + 32 * J);
            if constexpr (Groups::kSigned) act = _mm256_sign_epi8(act, q);
            __m256i fours;
            if constexpr (kOfPairs) {
                fours = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, act), pair_scales);
            } else {
                fours = add_four_products(_mm256_setzero_si256(), magnitudes, act);
            }
            const __m256 scale = _mm256_broadcast_ss(scales.value[kT] + 8 * index + J);
            __m256& sum = total.value[kT][J % kChainsOf<T>];
            sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(fours), scale, sum);
        });
    }

    // Up to seven blocks of 32.
    template <int T>
    static LLMCORE_INLINE void add_rest(const DotInput& in, int64_t group, Sums<T>& total) {
        const int count = static_cast<int>(in.k % 256 / 32);
        if (count == 0) return;
        const char* weights = in.weight + group * Groups::kBytes;
        Scales<T> scales;
        store_scales<T>(Groups::open(weights, count), in, group, 0, scales, total);
        unrolled<0, 7>([&](auto j) __attribute__((always_inline)) {
            constexpr int kJ = decltype(j)::value;
            if (kJ < count) multiply<T, kJ>(weights, in, group, 0, scales, total);
        });
    }
};

}  // namespace
}  // namespace llmcore
