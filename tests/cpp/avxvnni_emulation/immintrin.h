// What kernels use of AVX-VNNI, as a function on any x86 with AVX2. Found before the compiler's own
// immintrin.h.
#pragma once

#include_next <immintrin.h>

#define __AVXVNNI__ 1
#define _mm256_dpbusd_avx_epi32 llmcore_emulated_dpbusd

namespace {

// VPDPBUSD (Intel's manual): in each lane the products of four unsigned bytes of a with four signed of b,
// exact, added to the sum modulo 2^32.
inline __m256i llmcore_emulated_dpbusd(__m256i sum, __m256i a, __m256i b) {
    const __m256i even = _mm256_set1_epi16(0x00FF);
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i a_low = _mm256_and_si256(a, even), a_high = _mm256_srli_epi16(a, 8);
    const __m256i b_low = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8), b_high = _mm256_srai_epi16(b, 8);
    const __m256i low = _mm256_mullo_epi16(a_low, b_low), high = _mm256_mullo_epi16(a_high, b_high);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, ones));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(high, ones));
}

}  // namespace
