#include "kernels/cpu/linear_float_avx512.h"

namespace llmcore {
namespace {

struct F32 {
    static constexpr Format kFormat = Format::F32;
    static constexpr int64_t kBytes = 4;

    static __m512 load(const uint8_t* p, __mmask16 lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
};

}  // namespace

extern constinit const Kernel linear_f32_avx512 = float_linear<F32>("linear_f32_avx512");

}  // namespace llmcore
