// Fused multiply-adds of floats with AVX2.
#include "kernels/cpu/simd_avx2.h"
#include "kernels/peak.h"

namespace llmcore {
namespace {

// Independent accumulators: two multipliers with a latency of up to six cycles.
constexpr int kChains = 12;

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        __m256 sums[kChains] = {};
        __m256 one = _mm256_set1_ps(1);
        for (int64_t round = 0; round < kPeakRounds; ++round) {
            asm volatile("" : "+x"(one));  // not a constant: each round multiplies anew
            for (int i = 0; i < kChains; ++i) {
                sums[i] = _mm256_fmadd_ps(one, one, sums[i]);
                asm("" : "+x"(sums[i]));
            }
        }
        float result = 0;
        for (int i = 0; i < kChains; ++i) result += sum_of(sums[i]);
        args.out[row] = result;
    }
}

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
    .run = run,
};

}  // namespace llmcore
