// Fused multiply-adds of floats with AVX2.
#include "kernels/cpu/peak_rounds.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

struct Unit {
    using Vector = __m256;
    static constexpr int kChains = 12;
    static LLMCORE_INLINE Vector one() { return _mm256_set1_ps(1); }
    static LLMCORE_INLINE Vector add_product(Vector one, Vector sum) {
        return _mm256_fmadd_ps(one, one, sum);
    }
    static LLMCORE_INLINE float total(Vector sum) { return sum_of(sum); }
};

}  // namespace

extern constinit const Kernel peak_f32_avx2 = {
    .name = "peak_f32_avx2",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::avx2,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = peak_rounds_run<Unit>,
};

}  // namespace llmcore
