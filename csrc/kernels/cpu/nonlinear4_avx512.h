// The 16 values of IQ4_NL and IQ4_XS as unsigned bytes.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

constexpr int kNonlinear4Offset = 128;  // what the table adds to the values

// Nibbles in, values + kNonlinear4Offset out.
inline __m512i nonlinear4(__m512i nibbles) {
    alignas(16) static constexpr uint8_t kTable[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                       129, 141, 153, 166, 181, 197, 217, 241};
    const __m128i table = _mm_load_si128(reinterpret_cast<const __m128i*>(kTable));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
}

}  // namespace
}  // namespace llmcore
