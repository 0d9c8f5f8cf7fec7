// Products of 2x8 by 8x2 bytes.
#include <arm_neon.h>

#include "kernels/cpu/peak_rounds.h"

namespace llmcore {
namespace {

struct Unit {
    using Vector = int32x4_t;
    static constexpr int kChains = 16;
    static LLMCORE_INLINE Vector one() { return vreinterpretq_s32_s8(vdupq_n_s8(1)); }
    static LLMCORE_INLINE Vector add_product(Vector one, Vector sum) {
        return vmmlaq_s32(sum, vreinterpretq_s8_s32(one), vreinterpretq_s8_s32(one));
    }
    static LLMCORE_INLINE float total(Vector sum) { return static_cast<float>(vaddvq_s32(sum)); }
};

}  // namespace

extern constinit const Kernel peak_int8_i8mm = {
    .name = "peak_int8_i8mm",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::i8mm,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = peak_rounds_run<Unit>,
};

}  // namespace llmcore
