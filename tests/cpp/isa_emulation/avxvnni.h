// What kernels use of AVX-VNNI: one instruction of AVX-512 VNNI in another encoding.
#pragma once

#include "isa_emulation/avx512.h"

#undef _mm256_dpbusd_avx_epi32

namespace llmcore {

inline __m256i _mm256_dpbusd_avx_epi32(__m256i sum, __m256i unsigned_bytes, __m256i signed_bytes) {
    return _mm256_dpbusd_epi32(sum, unsigned_bytes, signed_bytes);
}

}  // namespace llmcore
