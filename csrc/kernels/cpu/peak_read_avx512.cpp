// Reading memory with AVX-512, in order, with prefetches a page ahead.
#include "kernels/cpu/simd_avx512.h"
#include "kernels/peak.h"

namespace llmcore {
namespace {

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const char* data = args.data + row * kPeakReadBytes;
        __m512i sums[4] = {};
        for (int64_t at = 0; at < kPeakReadBytes; at += 4 * 64) {
            _mm_prefetch(data + at + 4096, _MM_HINT_T0);
            for (int i = 1; i < 4; ++i) _mm_prefetch(data + at + 4096 + i * 64, _MM_HINT_T0);
            for (int i = 0; i < 4; ++i)
                sums[i] = _mm512_add_epi32(sums[i], _mm512_loadu_si512(data + at + i * 64));
        }
        const __m512i sum =
            _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
        args.out[row] = static_cast<float>(_mm512_reduce_add_epi32(sum));
    }
}

}  // namespace

extern constinit const Kernel peak_read_avx512 = {
    .name = "peak_read_avx512",
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
