#include "kernels/cpu/linear_float_avx512.h"

namespace llmcore {
namespace {

struct F16 {
    static constexpr Format kFormat = Format::F16;
    static constexpr int64_t kBytes = 2;

    static __m512 load(const uint8_t* p, __mmask16 lanes) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, p));
    }
};

}  // namespace

extern constinit const Kernel linear_f16_avx512 = float_linear<F16>("linear_f16_avx512");

}  // namespace llmcore
