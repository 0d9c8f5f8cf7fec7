// Activations to int8 with a scale per 256.
#include "kernels/activation_layout.h"
#include "kernels/cpu/pack_avx2.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape* shape) { return shape->k > 0 && shape->k % 256 == 0; }

double cost(const Shape* shape) {
    return 10 + static_cast<double>(shape->m) * static_cast<double>(shape->k) * 0.2;
}

// The sums of 16 of 32 int8, as two int16.
int32_t sums_of_16(__m256i q) {
    const __m256i fours = _mm256_madd_epi16(pair_sums(q), _mm256_set1_epi16(1));
    const int32_t low = sum_of_epi32(_mm256_castsi256_si128(fours));
    const int32_t high = sum_of_epi32(_mm256_extracti128_si256(fours, 1));
    return static_cast<int32_t>(static_cast<uint32_t>(high) << 16 | (static_cast<uint32_t>(low) & 0xFFFF));
}

void pack_row(const float* x, char* out, int64_t k) {
    const Q8x256Layout layout = q8x256_layout(k);
    float* d = reinterpret_cast<float*>(out + layout.d_offset);
    char* sums = out + layout.sums_offset;
    const int64_t blocks = k / 256;
    for (int64_t block = 0; block < blocks; ++block) {
        const PackScale scale = pack_scale(largest_magnitude_bits(x + block * 256, 256));
        d[block] = scale.d;
        for (int64_t i = block * 256; i < block * 256 + 256; i += 32) {
            const __m256i q = rounded_epi8(x + i, scale.inverse);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), q);
            const int32_t pair = sums_of_16(q);
            memcpy(sums + i / 8, &pair, 4);
        }
    }
    clear(reinterpret_cast<char*>(d + blocks), out + layout.sums_offset);
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

extern constinit const Kernel pack_q8_256_avx2 = {
    .name = "pack_q8_256_avx2",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_256,
    .isa = Isa::avx2,
    .supports = supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
