// Fused multiply-adds of floats with AVX-512.
#include "kernels/cpu/peak_rounds.h"
#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

struct Unit {
    using Vector = __m512;
    static constexpr int kChains = 16;
    static LLMCORE_INLINE Vector one() { return _mm512_set1_ps(1); }
    static LLMCORE_INLINE Vector add_product(Vector one, Vector sum) {
        return _mm512_fmadd_ps(one, one, sum);
    }
    static LLMCORE_INLINE float total(Vector sum) { return _mm512_reduce_add_ps(sum); }
};

}  // namespace

extern constinit const Kernel peak_f32_avx512 = {
    .name = "peak_f32_avx512",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::avx512,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = peak_rounds_run<Unit>,
};

}  // namespace llmcore
