// What the AVX-512 kernels share: loads that stop at the last byte, prefetch, sums, the transpose behind the
// panels.
#pragma once

// GCC 11 and 12 take the "undefined" operand inside their own intrinsics for an uninitialized variable (bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#include <stddef.h>
#include <stdint.h>

namespace llmcore {
namespace {

// How far ahead of the arithmetic a decode kernel asks for weights, in bytes. Measured: 2 to 4 KB reach the
// memory's bandwidth, none at all loses a quarter of it.
constexpr int64_t kPrefetchDistance = 3072;

// Asks for every line of the `bytes` that lie kPrefetchDistance ahead of p. Never faults, whatever is there.
template <int64_t kBytes>
inline void prefetch_ahead(const uint8_t* p) {
    constexpr int64_t kLines = (kBytes + 63) / 64;
#pragma GCC unroll 8
    for (int64_t i = 0; i < kLines; ++i)
        _mm_prefetch(reinterpret_cast<const char*>(p + kPrefetchDistance + 64 * i), _MM_HINT_T0);
}

inline __m512i load_bytes(const void* p) { return _mm512_loadu_si512(p); }
inline __m128i load_16_bytes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline __m256i load_32_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// 32 bytes in both halves.
inline __m512i load_32_bytes_twice(const void* p) { return _mm512_broadcast_i64x4(load_32_bytes(p)); }

// 16 bytes from each of four places.
inline __m512i load_4x16_bytes(const uint8_t* a, const uint8_t* b, const uint8_t* c, const uint8_t* d) {
    __m512i v = _mm512_castsi128_si512(load_16_bytes(a));
    v = _mm512_mask_broadcast_i32x4(v, 0x00F0, load_16_bytes(b));
    v = _mm512_mask_broadcast_i32x4(v, 0x0F00, load_16_bytes(c));
    return _mm512_mask_broadcast_i32x4(v, 0xF000, load_16_bytes(d));
}

inline uint16_t load_u16(const uint8_t* p) {
    uint16_t value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
}

inline uint32_t load_u32(const uint8_t* p) {
    uint32_t value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
}

inline uint64_t load_u64(const uint8_t* p) {
    uint64_t value;
    __builtin_memcpy(&value, p, sizeof value);
    return value;
}

inline float load_half(const uint8_t* p) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(p))));
}

// (a & 0x0F) | (b & high), byte by byte.
inline __m512i nibble_with_high(__m512i a, __m512i b, __m512i nibble_mask, __m512i high_mask) {
    return _mm512_ternarylogic_epi32(_mm512_and_si512(a, nibble_mask), b, high_mask, 0xF8);  // a | (b & c)
}

// rows[i] lane j becomes rows[j] lane i, of 32-bit lanes.
inline void transpose_16x16(__m512i* rows) {
    __m512i a[16];
    __m512i b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    // b[4g + c], 128-bit lane l: column 4l + c of rows 4g .. 4g + 3.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const __m512i even_low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88);  // lanes 0, 2 of each
        const __m512i odd_low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xDD);   // lanes 1, 3
        const __m512i even_high = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xDD);
        rows[c] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        rows[4 + c] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        rows[8 + c] = _mm512_shuffle_i32x4(even_low, even_high, 0xDD);
        rows[12 + c] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD);
    }
}

// The first lane at or after `p` that is a multiple of 64: workspaces need no alignment of their own.
inline uint8_t* align_64(void* p) {
    return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(p) + 63) & ~uintptr_t{63});
}

}  // namespace
}  // namespace llmcore
