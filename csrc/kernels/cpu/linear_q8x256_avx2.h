// Dot products of super-blocks of 256 weights with activations in Layout::q8_32: integers within 32 columns,
// floats across them.
//
// `Weights` opens one super-block:
//     using Block; constexpr bool kSigned; constexpr Bias kBias; constexpr int kBiasShift;
//     template <int J> __m256i q() const: weights 32J to 32J + 31 as bytes (int8 if kSigned, otherwise 0 to
//     127); template <int J> __m256i scale() const: their scales as int16, one a pair of weights;
//     __m256i bias: 16 int16 that multiply the activations' sums of 16; float d, dmin.
#pragma once

#include "kernels/cpu/linear_groups_avx2.h"

namespace llmcore {
namespace {

enum class Bias {
    none,
    integer,  // value = d * (scaled q - bias * 2^kBiasShift)
    minimum,  // value = d * scaled q - dmin * bias
};

template <class Weights>
struct Q8x256Dot {
    using Block = typename Weights::Block;

    template <int T>
    static LLMCORE_INLINE void run(const DotInput& in, float* sums) {
        constexpr int kChains = kChainsOf<T>;
        const Q8x32Layout layout = q8x32_layout(in.k);
        const int64_t blocks = in.k / 256;
        __m256 total[T];
        for (int t = 0; t < T; ++t) total[t] = _mm256_setzero_ps();
        for (int64_t block = 0; block < blocks; ++block) {
            const char* raw = in.weight + block * static_cast<int64_t>(sizeof(Block));
            prefetch<static_cast<int>(sizeof(Block))>(raw + in.ahead);
            const Weights w(reinterpret_cast<const Block*>(raw));
            __m256 part[T][kChains];
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                for (int c = 1; c < kChains; ++c) part[kT][c] = _mm256_setzero_ps();
                open(w, in.act + kT * in.act_row_bytes, layout, block, &part[kT][0], &total[kT]);
            });
            unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
                constexpr int kJ = decltype(j)::value;
                multiply<T, kJ, kJ % kChains>(w, in, layout, block, part);
            });
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                total[kT] = _mm256_fmadd_ps(sum_of_chains(part[kT]), _mm256_set1_ps(w.d), total[kT]);
            });
        }
        for (int t = 0; t < T; ++t) sums[t] = sum_of(total[t]);
    }

private:
    // The activations' scales of a super-block, one for 32.
    static LLMCORE_INLINE const float* scales(const char* act, const Q8x32Layout& layout, int64_t block) {
        return reinterpret_cast<const float*>(act + layout.d_offset) + 8 * block;
    }

    // What the super-block's bias adds, from the sums of the activations: a lane for 32 of them.
    static LLMCORE_INLINE void open(const Weights& w, const char* act, const Q8x32Layout& layout,
                                    int64_t block, __m256* part, __m256* total) {
        *part = _mm256_setzero_ps();
        if constexpr (Weights::kBias != Bias::none) {
            const __m256i bias = _mm256_madd_epi16(w.bias, load_256(act + layout.sums_offset + block * 32));
            const __m256 d = _mm256_loadu_ps(scales(act, layout, block));
            if constexpr (Weights::kBias == Bias::integer) {
                const __m256 shifted = _mm256_cvtepi32_ps(_mm256_slli_epi32(bias, Weights::kBiasShift));
                *part = _mm256_fnmadd_ps(shifted, d, *part);
            } else {
                const __m256 minimum = _mm256_mul_ps(d, _mm256_set1_ps(w.dmin));
                *total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(bias), minimum, *total);
            }
        }
    }

    template <int T, int J, int Chain, int Chains>
    static LLMCORE_INLINE void multiply(const Weights& w, const DotInput& in, const Q8x32Layout& layout,
                                        int64_t block, __m256 (&part)[T][Chains]) {
        const __m256i q = w.template q<J>();
        const __m256i magnitudes = Weights::kSigned ? _mm256_abs_epi8(q) : q;
        const __m256i scale = w.template scale<J>();
        unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
            constexpr int kT = decltype(t)::value;
            const char* row = in.act + kT * in.act_row_bytes;
            const char* a = row + block * 256 + 32 * J;
            const __m256i pairs =
                Weights::kSigned ? pair_products(magnitudes, q, a) : pair_products(magnitudes, a);
            const __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, scale));
            __m256& sum = part[kT][Chain];
            sum = _mm256_fmadd_ps(dot, _mm256_broadcast_ss(scales(row, layout, block) + J), sum);
        });
    }
};

// Super-blocks as GroupsDot takes them. Group: columns that share a scale. `Weights` as of Q8x256Dot, but
// with
//     static open(const Block&) and template <int J> static __m256i q_of(const Block&).
template <class Weights, int Group>
struct SuperBlockGroups {
    using Block = typename Weights::Block;
    static constexpr int kBytes = sizeof(Block);
    static constexpr bool kSigned = Weights::kSigned;
    static constexpr bool kOffset = Group == 32 && Weights::kBias != Bias::none;
    static constexpr bool kPartial = false;

    static LLMCORE_INLINE auto open(const char* group) {
        return Weights::open(*reinterpret_cast<const Block*>(group));
    }

    template <int J>
    static LLMCORE_INLINE __m256i q(const char* group) {
        return Weights::template q_of<J>(*reinterpret_cast<const Block*>(group));
    }
};

bool q8x256_supports(const Shape* shape) { return shape->k > 0 && shape->k % 256 == 0; }

}  // namespace
}  // namespace llmcore
