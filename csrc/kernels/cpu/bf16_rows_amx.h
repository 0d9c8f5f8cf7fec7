// Weight rows expanded to bf16, a piece of consecutive columns at a time.
//
// A `Rows` says: constexpr Format kFormat; constexpr int64_t kBlockColumns, of which rows are a multiple;
// constexpr int64_t kPieceColumns and the kPieceBytes they take;
// static void expand(const uint8_t* p, uint16_t* out): a whole piece;
// static void expand_last(const uint8_t* p, int64_t columns, uint16_t* out): fewer, then zeros up to a
// multiple of 32.
#pragma once

#include "kernels/cpu/unpacked_blocks_avx512.h"
#include "kernels/cpu/unrolled.h"

namespace llmcore {
namespace {

// 32 floats, to the nearest bf16; subnormals become zero.
LLMCORE_INLINE void store_bf16(uint16_t* out, __m512 first, __m512 second) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(second, first);
    _mm512_storeu_si512(out, (__m512i)rounded);
}

LLMCORE_INLINE __m512 bytes_to_floats(__m128i bytes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

template <int kLane>
LLMCORE_INLINE __m512 broadcast_lane(__m512 v) {
    return _mm512_permutexvar_ps(_mm512_set1_epi32(kLane), v);
}

// Formats with blocks of 32, which unpack to FourBlocks.
template <class F>
struct BlockRows {
    static constexpr Format kFormat = F::kFormat;
    static constexpr int64_t kBlockColumns = 32;
    static constexpr int64_t kPieceColumns = 128;
    static constexpr int64_t kPieceBytes = 4 * F::kBlockBytes;

    static LLMCORE_INLINE void expand(const uint8_t* p, uint16_t* out) { store(F::unpack(p), 4, out); }
    static void expand_last(const uint8_t* p, int64_t columns, uint16_t* out) {
        store(unpack_partial<F>(p, columns / 32), columns / 32, out);
    }

private:
    static LLMCORE_INLINE void store(const FourBlocks& w, int64_t n_blocks, uint16_t* out) {
        const __m512 minimums =
            F::kHasMinimum ? w.m : _mm512_mul_ps(w.d, _mm512_set1_ps(-static_cast<float>(F::kOffset)));
        unrolled<0, 4>([&](auto block) __attribute__((always_inline)) {
            constexpr int kBlock = decltype(block)::value;
            if (kBlock >= n_blocks) return;
            const __m512 d = broadcast_lane<4 * kBlock>(w.d);
            const __m512 minimum = broadcast_lane<4 * kBlock>(minimums);
            const __m512 low = bytes_to_floats(_mm512_extracti32x4_epi32(w.low, kBlock));
            const __m512 high = bytes_to_floats(_mm512_extracti32x4_epi32(w.high, kBlock));
            store_bf16(out + 32 * kBlock, _mm512_fmadd_ps(low, d, minimum),
                       _mm512_fmadd_ps(high, d, minimum));
        });
    }
};

// Formats with superblocks of 256.
template <class F>
struct SuperblockRows {
    static constexpr Format kFormat = F::kFormat;
    static constexpr int64_t kBlockColumns = kSuper;
    static constexpr int64_t kPieceColumns = kSuper;
    static constexpr int64_t kPieceBytes = F::kBlockBytes;

    static LLMCORE_INLINE void expand(const uint8_t* p, uint16_t* out) {
        const Superblock w = F::unpack(p);
        const __m512 scales = _mm512_mul_ps(to_floats(w.scales), _mm512_set1_ps(w.d));
        const __m512 minimums = _mm512_mul_ps(to_floats(w.minimums), _mm512_set1_ps(-w.dmin));
        unrolled<0, 8>([&](auto pair) __attribute__((always_inline)) {
            constexpr int kPair = decltype(pair)::value;
            store_bf16(out + 32 * kPair, unit<2 * kPair>(w, scales, minimums),
                       unit<2 * kPair + 1>(w, scales, minimums));
        });
    }
    static void expand_last(const uint8_t*, int64_t, uint16_t*) {}  // rows are whole superblocks

private:
    // Where unpacking left a unit of 16 weights.
    static constexpr int place_of(int unit) {
        for (int place = 0; place < 16; ++place)
            if (F::kUnits[place] == unit) return place;
        return -1;
    }

    template <int kUnit>
    static LLMCORE_INLINE __m512 unit(const Superblock& w, __m512 scales, __m512 minimums) {
        constexpr int kPlace = place_of(kUnit);
        const __m512 bytes = bytes_to_floats(_mm512_extracti32x4_epi32(w.bytes[kPlace / 4], kPlace % 4));
        return _mm512_fmadd_ps(bytes, broadcast_lane<kUnit>(scales), broadcast_lane<kUnit>(minimums));
    }
};

// F16 and BF16: F::expand_32(p, lanes) -> 32 bf16, zeros where a bit of `lanes` is 0.
template <class F>
struct HalfRows {
    static constexpr Format kFormat = F::kFormat;
    static constexpr int64_t kBlockColumns = 1;
    static constexpr int64_t kPieceColumns = 128;
    static constexpr int64_t kPieceBytes = 2 * kPieceColumns;

    static LLMCORE_INLINE void expand(const uint8_t* p, uint16_t* out) {
        for (int64_t i = 0; i < kPieceColumns; i += 32) F::expand_32(p + 2 * i, 0xFFFFFFFF, out + i);
    }
    static void expand_last(const uint8_t* p, int64_t columns, uint16_t* out) {
        for (int64_t i = 0; i < columns; i += 32) {
            const int64_t left = columns - i;
            const auto lanes = static_cast<__mmask32>(left >= 32 ? 0xFFFFFFFF : (1U << left) - 1);
            F::expand_32(p + 2 * i, lanes, out + i);
        }
    }
};

}  // namespace
}  // namespace llmcore
