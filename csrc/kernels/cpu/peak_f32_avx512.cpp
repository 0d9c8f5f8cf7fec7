// Fused multiply-adds of floats with AVX-512.
#include "kernels/cpu/simd_avx512.h"
#include "kernels/peak.h"

namespace llmcore {
namespace {

// Independent accumulators: two multipliers with a latency of up to six cycles.
constexpr int kChains = 16;

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        __m512 sums[kChains] = {};
        __m512 one = _mm512_set1_ps(1);
        for (int64_t round = 0; round < kPeakRounds; ++round) {
            asm volatile("" : "+v"(one));  // not a constant: each round multiplies anew
            for (int i = 0; i < kChains; ++i) {
                sums[i] = _mm512_fmadd_ps(one, one, sums[i]);
                asm("" : "+v"(sums[i]));
            }
        }
        float result = 0;
        for (int i = 0; i < kChains; ++i) result += _mm512_reduce_add_ps(sums[i]);
        args.out[row] = result;
    }
}

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
    .run = run,
};

}  // namespace llmcore
