// Packs float rows as bf16 for AMX (kernels/activation_layout.h): sixteen rows by 32 columns at a time, whose
// pairs of columns are transposed.
#include "kernels/activation_layout.h"
#include "kernels/cpu/simd_avx512.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape* shape) { return shape->k > 0; }

double cost(const Shape* shape) {
    return 0.1 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

__mmask16 first_lanes(int64_t n) {
    return static_cast<__mmask16>(n >= 16 ? 0xFFFF : n <= 0 ? 0 : (1 << n) - 1);
}

// Rows [begin, end) of the sixteen from `tile_row` on; the others' bytes stay as they are.
void pack_tile_rows(const PackArgs& pack, int64_t tile_row, int64_t begin, int64_t end) {
    const auto rows = static_cast<__mmask16>(first_lanes(end - tile_row) & ~first_lanes(begin - tile_row));
    for (int64_t column = 0; column < pack.k; column += 32) {
        const __mmask16 low = first_lanes(pack.k - column);
        const __mmask16 high = first_lanes(pack.k - column - 16);
        __m512i pairs[16];
        for (int64_t i = 0; i < 16; ++i) {
            const bool wanted = tile_row + i >= begin && tile_row + i < end;
            const float* x = pack.x + (wanted ? tile_row + i : begin) * pack.x_stride + column;
            pairs[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, x + 16),
                                                    _mm512_maskz_loadu_ps(low, x));
        }
        transpose_16x16(pairs);
        uint8_t* out =
            static_cast<uint8_t*>(pack.out) + bf16_x32_offset(tile_row, column, pack.out_row_bytes);
        for (int64_t i = 0; i < 16; ++i) _mm512_mask_storeu_epi32(out + 64 * i, rows, pairs[i]);
    }
}

void run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& pack = *static_cast<const PackArgs*>(args);
    for (int64_t row = row_begin; row < row_end;) {
        const int64_t tile_row = row / 16 * 16;
        const int64_t end = tile_row + 16 < row_end ? tile_row + 16 : row_end;
        pack_tile_rows(pack, tile_row, row, end);
        row = end;
    }
}

}  // namespace

extern constinit const Kernel pack_bf16_x32_amx = {
    .name = "pack_bf16_x32_amx",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::bf16_x32,
    .isa = Isa::amx,
    .supports = supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
