// What Q2_K and Q3_K have in common: four pairs of bits a byte.
#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

// A code that stays where its pair of bits stands is that much too large. The last pair is moved to the
// third's place: sums of two products would not fit.
constexpr int place_of(int group) { return group % 4 < 3 ? group % 4 : 2; }

// What the codes of eight groups of 32 are multiplied with.
LLMCORE_INLINE __m256 place_factors() {
    return _mm256_setr_ps(1.0F, 0.25F, 0.0625F, 0.0625F, 1.0F, 0.25F, 0.0625F, 0.0625F);
}

}  // namespace
}  // namespace llmcore
