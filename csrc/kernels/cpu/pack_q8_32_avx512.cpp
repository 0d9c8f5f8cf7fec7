#include "kernels/cpu/pack_avx512.h"

namespace llmcore {
namespace {

void pack_row(const float* x, int64_t k, uint8_t* out) {
    const Q8x32Layout layout = q8x32_layout(k);
    __builtin_memset(out + k, 0, static_cast<size_t>(layout.row_bytes - k));
    float* d = reinterpret_cast<float*>(out + layout.d_offset);
    float* dsum = reinterpret_cast<float*>(out + layout.dsum_offset);
    auto* sums = reinterpret_cast<int16_t*>(out + layout.sums_offset);
    for (int64_t group = 0; group < k / 32; ++group) {
        const PackedGroup packed = pack_group(x + group * 32);
        const __m256i q = packed.q;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + group * 32), q);
        const __m256i fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), q);
        const __m128i low_four = _mm256_castsi256_si128(fours);
        const __m128i high_four = _mm256_extracti128_si256(fours, 1);
        const __m128i twos = _mm_hadd_epi32(low_four, high_four);
        const __m128i ones = _mm_hadd_epi32(twos, twos);
        const int low_sum = _mm_cvtsi128_si32(ones);
        const int high_sum = _mm_extract_epi32(ones, 1);
        d[group] = packed.d;
        dsum[group] = packed.d * static_cast<float>(low_sum + high_sum);
        sums[2 * group] = static_cast<int16_t>(low_sum);
        sums[2 * group + 1] = static_cast<int16_t>(high_sum);
    }
}

void run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& pack = *static_cast<const PackArgs*>(args);
    for (int64_t row = row_begin; row < row_end; ++row)
        pack_row(pack.x + row * pack.x_stride, pack.k,
                 static_cast<uint8_t*>(pack.out) + row * pack.out_row_bytes);
}

bool supports(const Shape* shape) { return shape->k % 32 == 0; }

}  // namespace

extern constinit const Kernel pack_q8_32_avx512 = {
    .name = "pack_q8_32_avx512",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_32,
    .isa = Isa::avx512,
    .supports = supports,
    .cost = pack_cost_avx512,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
