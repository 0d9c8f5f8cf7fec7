// Products of bytes with AVX2: pairs to 16 bits, pairs of those to 32 bits, sums.
#include "kernels/cpu/simd_avx2.h"
#include "kernels/peak.h"

namespace llmcore {
namespace {

// Of all lanes.
int32_t total(__m256i x) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1)));
}

// Independent accumulators: two multipliers with a latency of up to six cycles.
constexpr int kChains = 8;

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        __m256i sums[kChains] = {};
        __m256i one = _mm256_set1_epi8(1);
        for (int64_t round = 0; round < kPeakRounds; ++round) {
            asm volatile("" : "+x"(one));  // not a constant: each round multiplies anew
            for (int i = 0; i < kChains; ++i) {
                __m256i pairs = _mm256_maddubs_epi16(one, one);
                asm("" : "+x"(pairs));
                sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
                asm("" : "+x"(sums[i]));
            }
        }
        float result = 0;
        for (int i = 0; i < kChains; ++i) result += static_cast<float>(total(sums[i]));
        args.out[row] = result;
    }
}

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
    .run = run,
};

}  // namespace llmcore
