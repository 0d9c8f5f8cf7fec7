// Products of bytes with AVX2, summed by pairs in 16 bits.
#include "kernels/cpu/peak_rounds.h"
#include "kernels/cpu/simd_avx2.h"

namespace llmcore {
namespace {

struct Unit {
    using Vector = __m256i;
    static constexpr int kChains = 8;
    static LLMCORE_INLINE Vector one() { return _mm256_set1_epi8(1); }
    // Sums of 16 bits hold all rounds' products, and nothing but the multiplications is in the way.
    static_assert(2 * kPeakRounds < 32768);
    static LLMCORE_INLINE Vector add_product(Vector one, Vector sum) {
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(one, one));
    }
    static LLMCORE_INLINE float total(Vector sum) {
        return static_cast<float>(sum_of(_mm256_madd_epi16(sum, _mm256_set1_epi16(1))));
    }
};

}  // namespace

extern constinit const Kernel peak_int8_avx2 = {
    .name = "peak_int8_avx2",
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
