#include "kernels/cpu/linear_panels_amx.h"

namespace llmcore {
namespace {

struct F16 {
    static constexpr Format kFormat = Format::F16;

    static LLMCORE_INLINE void expand_32(const uint8_t* p, __mmask32 lanes, uint16_t* out) {
        const __m512i halves = _mm512_maskz_loadu_epi16(lanes, p);
        store_bf16(out, _mm512_cvtph_ps(_mm512_castsi512_si256(halves)),
                   _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1)));
    }
};

}  // namespace

extern constinit const Kernel linear_f16_amx = bf16_linear<HalfRows<F16>>("linear_f16_amx");

}  // namespace llmcore
