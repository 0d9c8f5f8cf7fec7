// Dot products of super-blocks of 256 weights with activations in Layout::q8_32: integers within 32 columns,
// floats across them.
//
// `Weights` opens one super-block:
//     using Block; constexpr bool kSigned; constexpr Bias kBias; constexpr int kBiasShift;
//     template <int J> __m256i q() const: weights 32J to 32J + 31 as bytes (int8 if kSigned, otherwise 0 to
//     127); template <int J> __m256i scale() const: their scales as int16, one a pair of weights;
//     __m256i bias: 16 int16 that multiply the activations' sums of 16; float d, dmin.
#pragma once

#include "kernels/activation_layout.h"
#include "kernels/cpu/linear_tiles.h"
#include "kernels/cpu/simd_avx2.h"

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
        const Q8x32Layout layout = q8x32_layout(in.k);
        const int64_t blocks = in.k / 256;
        __m256 total[T];
        for (int t = 0; t < T; ++t) total[t] = _mm256_setzero_ps();
        for (int64_t block = 0; block < blocks; ++block) {
            const char* raw = in.weight + block * static_cast<int64_t>(sizeof(Block));
            prefetch<static_cast<int>(sizeof(Block))>(raw + in.ahead);
            const Weights w(reinterpret_cast<const Block*>(raw));
            __m256 part[T];
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                open(w, in.act + kT * in.act_row_bytes, layout, block, &part[kT], &total[kT]);
            });
            unrolled<0, 8>([&](auto j) __attribute__((always_inline)) {
                constexpr int kJ = decltype(j)::value;
                multiply<T, kJ>(w, in, layout, block, part);
            });
            unrolled<0, T>([&](auto t) __attribute__((always_inline)) {
                constexpr int kT = decltype(t)::value;
                total[kT] = _mm256_fmadd_ps(part[kT], _mm256_set1_ps(w.d), total[kT]);
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

    template <int T, int J>
    static LLMCORE_INLINE void multiply(const Weights& w, const DotInput& in, const Q8x32Layout& layout,
                                        int64_t block, __m256* part) {
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
            part[kT] = _mm256_fmadd_ps(dot, _mm256_broadcast_ss(scales(row, layout, block) + J), part[kT]);
        });
    }
};

// Scales of 32 weights: 8 bytes, as int16 in both halves, so that pick_scale<J> is one shuffle.
LLMCORE_INLINE __m256i scales_of_32(uint64_t bytes) {
    return _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(_mm_cvtsi64_si128(static_cast<int64_t>(bytes))));
}

// Scales of 16 weights: the even ones as int16 in the lower half, the odd ones in the upper.
LLMCORE_INLINE __m256i scales_of_16(__m128i bytes) {
    const __m128i evens_first = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, evens_first));
}

template <int J>
LLMCORE_INLINE __m256i pick_scale(__m256i scales) {
    return _mm256_shuffle_epi8(scales, _mm256_set1_epi16(static_cast<short>((2 * J + 1) << 8 | 2 * J)));
}

bool q8x256_supports(const Shape* shape) { return shape->k > 0 && shape->k % 256 == 0; }

}  // namespace
}  // namespace llmcore
