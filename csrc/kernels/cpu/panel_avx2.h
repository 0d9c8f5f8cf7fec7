// Weights unpacked for products of several tokens: eight rows side by side, so that a vector's lanes are rows
// and what a token adds is a broadcast of four of its bytes.
#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

constexpr int kPanelRows = 8;
constexpr int64_t kPanelColumns = 1024;  // so that they stay in L1 beside a tile of tokens

// Eight rows by up to kPanelColumns columns. All parts are vectors with a lane a row.
struct Panel {
    uint8_t* q;   // for each 4 columns: the rows' 4 bytes
    char* scale;  // for each `kGroup` columns
    char* bias;   // for each 32 columns
    float* ends;  // for each 256 columns two vectors: d and dmin
};

// A panel follows another at a distance known to the compiler: one pointer serves both.
template <int Group>
constexpr int64_t kPanelBytes =
    kPanelRows * kPanelColumns + kPanelColumns / Group * 32 + kPanelColumns + kPanelColumns / 256 * 64;

template <int Group>
LLMCORE_INLINE Panel panel_at(void* workspace, int64_t index) {
    char* q = static_cast<char*>(workspace) + index * kPanelBytes<Group>;
    char* scale = q + kPanelRows * kPanelColumns;
    char* bias = scale + kPanelColumns / Group * 32;
    return {reinterpret_cast<uint8_t*>(q), scale, bias, reinterpret_cast<float*>(bias + kPanelColumns)};
}

// A matrix of 32-bit words, from a row a vector to a column a vector.
LLMCORE_INLINE void transpose(__m256i (&rows)[8]) {
    __m256i pair[8], four[8];
    unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        pair[2 * kI] = _mm256_unpacklo_epi32(rows[2 * kI], rows[2 * kI + 1]);
        pair[2 * kI + 1] = _mm256_unpackhi_epi32(rows[2 * kI], rows[2 * kI + 1]);
    });
    unrolled<0, 2>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = 4 * decltype(i)::value;
        four[kI] = _mm256_unpacklo_epi64(pair[kI], pair[kI + 2]);
        four[kI + 1] = _mm256_unpackhi_epi64(pair[kI], pair[kI + 2]);
        four[kI + 2] = _mm256_unpacklo_epi64(pair[kI + 1], pair[kI + 3]);
        four[kI + 3] = _mm256_unpackhi_epi64(pair[kI + 1], pair[kI + 3]);
    });
    unrolled<0, 4>([&](auto i) __attribute__((always_inline)) {
        constexpr int kI = decltype(i)::value;
        rows[kI] = _mm256_permute2x128_si256(four[kI], four[kI + 4], 0x20);
        rows[kI + 4] = _mm256_permute2x128_si256(four[kI], four[kI + 4], 0x31);
    });
}

LLMCORE_INLINE void store_transposed(__m256i (&rows)[8], void* to) {
    transpose(rows);
    for (int i = 0; i < 8; ++i) store_256(static_cast<char*>(to) + 32 * i, rows[i]);
}

LLMCORE_INLINE void store_transposed(const __m256 (&rows)[8], void* to) {
    __m256i bits[8];
    for (int i = 0; i < 8; ++i) bits[i] = _mm256_castps_si256(rows[i]);
    store_transposed(bits, to);
}

// Blocks of 32 weights whose first half are low nibbles and second half high ones: two blocks of eight rows,
// each row 16 bytes of one block and then of the other, already transposed. `Weights::of_nibbles` makes
// weights of them.
template <class Weights>
LLMCORE_INLINE void store_nibble_halves(const __m256i (&bytes)[8], int blocks, uint8_t* to) {
    for (int i = 0; i < 4 * blocks; ++i) {
        const __m256i low = _mm256_and_si256(bytes[i], _mm256_set1_epi8(15));
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes[i], 4), _mm256_set1_epi8(15));
        uint8_t* at = to + i / 4 * 256 + i % 4 * 32;
        store_256(at, Weights::of_nibbles(low));
        store_256(at + 128, Weights::of_nibbles(high));
    }
}

}  // namespace
}  // namespace llmcore
