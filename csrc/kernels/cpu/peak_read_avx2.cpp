// Reading memory with AVX2, in order, with prefetches a page ahead.
#include "kernels/cpu/simd_avx2.h"
#include "kernels/peak.h"

namespace llmcore {
namespace {

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const char* data = args.data + row * kPeakReadBytes;
        __m256i sums[4] = {};
        for (int64_t at = 0; at < kPeakReadBytes; at += 4 * 32) {
            _mm_prefetch(data + at + 4096, _MM_HINT_T0);
            _mm_prefetch(data + at + 4096 + 64, _MM_HINT_T0);
            for (int i = 0; i < 4; ++i) sums[i] = _mm256_add_epi32(sums[i], load_256(data + at + i * 32));
        }
        const __m256i sum =
            _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
        args.out[row] = static_cast<float>(sum_of(sum));
    }
}

}  // namespace

extern constinit const Kernel peak_read_avx2 = {
    .name = "peak_read_avx2",
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
