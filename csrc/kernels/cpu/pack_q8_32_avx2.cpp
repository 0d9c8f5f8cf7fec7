// Activations to int8 with a scale per 32.
#include "kernels/activation_layout.h"
#include "kernels/cpu/pack_avx2.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape* shape) { return shape->k > 0 && shape->k % 32 == 0; }

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * static_cast<double>(shape->k) * 0.8;
}

void pack_row(const float* x, char* out, int64_t k) {
    const Q8x32Layout layout = q8x32_layout(k);
    float* d = reinterpret_cast<float*>(out + layout.d_offset);
    float* dsum = reinterpret_cast<float*>(out + layout.dsum_offset);
    char* sums = out + layout.sums_offset;
    const int64_t blocks = k / 32;
    for (int64_t block = 0; block < blocks; ++block) {
        const PackedGroup packed = pack_group(x + block * 32);
        const __m256i q = packed.q;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + block * 32), q);
        const __m256i fours = _mm256_madd_epi16(pair_sums(q), _mm256_set1_epi16(1));
        const int32_t low = sum_of_epi32(_mm256_castsi256_si128(fours));
        const int32_t high = sum_of_epi32(_mm256_extracti128_si256(fours, 1));
        const uint32_t pair = static_cast<uint32_t>(high) << 16 | (static_cast<uint32_t>(low) & 0xFFFF);
        memcpy(sums + 4 * block, &pair, 4);
        d[block] = packed.d;
        dsum[block] = packed.d * static_cast<float>(low + high);
    }
    clear(out + k, out + layout.d_offset);
    clear(reinterpret_cast<char*>(d + blocks), out + layout.dsum_offset);
    clear(reinterpret_cast<char*>(dsum + blocks), sums);
    clear(sums + k / 8, out + layout.row_bytes);
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& args = *static_cast<const PackArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        pack_row(args.x + row * args.x_stride, static_cast<char*>(args.out) + row * args.out_row_bytes,
                 args.k);
    }
}

}  // namespace

extern constinit const Kernel pack_q8_32_avx2 = {
    .name = "pack_q8_32_avx2",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_32,
    .isa = Isa::avx2,
    .supports = supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
