#include "kernels/cpu/pack_avx512.h"

namespace llmcore {
namespace {

// Sums of 16 consecutive bytes each.
inline __m128i sums_of_16(__m512i q) {
    const __m512i fours = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), q);
    const __m512i twos = _mm512_add_epi32(fours, _mm512_shuffle_epi32(fours, _MM_PERM_CDAB));
    return _mm512_cvtepi64_epi16(_mm512_add_epi32(twos, _mm512_shuffle_epi32(twos, _MM_PERM_BADC)));
}

void pack_row(const float* x, int64_t k, uint8_t* out) {
    const Q8x256Layout layout = q8x256_layout(k);
    __builtin_memset(out + k, 0, static_cast<size_t>(layout.row_bytes - k));
    float* d = reinterpret_cast<float*>(out + layout.d_offset);
    auto* sums = reinterpret_cast<int16_t*>(out + layout.sums_offset);
    for (int64_t group = 0; group < k / 256; ++group) {
        const PackScale scale = pack_scale(largest_magnitude_bits<256>(x + group * 256));
        const __m512 inverse = _mm512_set1_ps(scale.inverse);
        d[group] = scale.d;
        for (int64_t i = group * 256; i < (group + 1) * 256; i += 64) {
            __m512i q = _mm512_castsi128_si512(quantize_16(x + i, inverse));
            q = _mm512_inserti32x4(q, quantize_16(x + i + 16, inverse), 1);
            q = _mm512_inserti32x4(q, quantize_16(x + i + 32, inverse), 2);
            q = _mm512_inserti32x4(q, quantize_16(x + i + 48, inverse), 3);
            _mm512_storeu_si512(out + i, q);
            // Each sum twice: the low four of the eight int16 hold all of a pair of lanes.
            const __m128i pairs = sums_of_16(q);
            const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
            _mm_storel_epi64(reinterpret_cast<__m128i*>(sums + i / 16), _mm_shuffle_epi8(pairs, order));
        }
    }
}

void run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& pack = *static_cast<const PackArgs*>(args);
    for (int64_t row = row_begin; row < row_end; ++row)
        pack_row(pack.x + row * pack.x_stride, pack.k,
                 static_cast<uint8_t*>(pack.out) + row * pack.out_row_bytes);
}

bool supports(const Shape* shape) { return shape->k % 256 == 0; }

}  // namespace

extern constinit const Kernel pack_q8_256_avx512 = {
    .name = "pack_q8_256_avx512",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_256,
    .isa = Isa::avx512,
    .supports = supports,
    .cost = pack_cost_avx512,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
