#include "kernels/cpu/pack_avx512.h"

namespace llmcore {
namespace {

void pack_row(const float* x, int64_t k, uint8_t* out) {
    const Q8x32Layout layout = q8x32_layout(k);
    __builtin_memset(out + k, 0, static_cast<size_t>(layout.row_bytes - k));
    float* d = reinterpret_cast<float*>(out + layout.d_offset);
    float* dsum = reinterpret_cast<float*>(out + layout.dsum_offset);
    for (int64_t group = 0; group < k / 32; ++group) {
        const float* from = x + group * 32;
        const PackScale scale = pack_scale(largest_magnitude_bits<32>(from));
        const __m512 inverse = _mm512_set1_ps(scale.inverse);
        const __m256i q = _mm256_set_m128i(quantize_16(from + 16, inverse), quantize_16(from, inverse));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + group * 32), q);
        const __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), q);
        const int32_t sum = _mm512_reduce_add_epi32(_mm512_zextsi256_si512(sums));
        d[group] = scale.d;
        dsum[group] = scale.d * static_cast<float>(sum);
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
