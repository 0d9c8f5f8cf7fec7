#include "kernels/cpu/linear_panels_amx.h"

namespace llmcore {
namespace {

struct BF16 {
    static constexpr Format kFormat = Format::BF16;

    static LLMCORE_INLINE void expand_32(const uint8_t* p, __mmask32 lanes, uint16_t* out) {
        _mm512_storeu_si512(out, _mm512_maskz_loadu_epi16(lanes, p));
    }
};

}  // namespace

extern constinit const Kernel linear_bf16_amx = bf16_linear<HalfRows<BF16>>("linear_bf16_amx");

}  // namespace llmcore
