// Fused multiply-adds of floats with NEON.
#include <arm_neon.h>

#include "kernels/cpu/peak_rounds.h"

namespace llmcore {
namespace {

struct Unit {
    using Vector = float32x4_t;
    static constexpr int kChains = 16;
    static LLMCORE_INLINE Vector one() { return vdupq_n_f32(1); }
    static LLMCORE_INLINE Vector add_product(Vector one, Vector sum) { return vfmaq_f32(sum, one, one); }
    static LLMCORE_INLINE float total(Vector sum) { return vaddvq_f32(sum); }
};

}  // namespace

extern constinit const Kernel peak_f32_neon = {
    .name = "peak_f32_neon",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::neon,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = peak_rounds_run<Unit>,
};

}  // namespace llmcore
