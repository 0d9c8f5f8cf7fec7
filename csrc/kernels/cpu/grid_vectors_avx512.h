// Vectors of eight from grids too large for registers, loaded one by one.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

// Four indices, 16 bits each, from four bytes and the bits above them: those of `high` go where `mask` has
// ones.
inline uint64_t join_indices(uint32_t bytes, uint64_t high, uint64_t mask) {
    return _pdep_u64(bytes, 0x00FF00FF00FF00FF) | _pdep_u64(high, mask);
}

inline __m256i load_four_vectors(const uint64_t* grid, uint64_t indices) {
    const auto vector = [grid](uint64_t index) { return static_cast<int64_t>(grid[index & 0xFFFF]); };
    return _mm256_setr_epi64x(vector(indices), vector(indices >> 16), vector(indices >> 32),
                              vector(indices >> 48));
}

inline __m512i load_eight_vectors(const uint64_t* grid, uint64_t first, uint64_t second) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(load_four_vectors(grid, first)),
                              load_four_vectors(grid, second), 1);
}

}  // namespace
}  // namespace llmcore
