#include "kernels/cpu/linear_float_avx512.h"

namespace llmcore {
namespace {

struct BF16 {
    static constexpr Format kFormat = Format::BF16;
    static constexpr int64_t kBytes = 2;

    static __m512 load(const uint8_t* p, __mmask16 lanes) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
    }
};

}  // namespace

extern constinit const Kernel linear_bf16_avx512 = float_linear<BF16>("linear_bf16_avx512");

}  // namespace llmcore
