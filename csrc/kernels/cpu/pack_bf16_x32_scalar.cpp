// Packs float rows as bf16 for AMX (kernels/activation_layout.h).
#include <string.h>

#include "kernels/activation_layout.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

uint16_t nearest_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t exponent = bits & 0x7F800000;
    if (exponent == 0) return static_cast<uint16_t>(bits >> 16 & 0x8000);
    const bool nan = exponent == 0x7F800000 && (bits & 0x007FFFFF) != 0;
    if (nan) return static_cast<uint16_t>(bits >> 16 | 0x0040);
    return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

bool supports(const Shape* shape) { return shape->k > 0; }

double cost(const Shape* shape) {
    return 5.0 * static_cast<double>(shape->m) * static_cast<double>(shape->k);
}

void run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& pack = *static_cast<const PackArgs*>(args);
    auto* out = static_cast<uint8_t*>(pack.out);
    for (int64_t row = row_begin; row < row_end; ++row)
        for (int64_t column = 0; column < (pack.k + 31) / 32 * 32; ++column) {
            const uint16_t value = column < pack.k ? nearest_bf16(pack.x[row * pack.x_stride + column]) : 0;
            memcpy(out + bf16_x32_offset(row, column, pack.out_row_bytes), &value, sizeof value);
        }
}

}  // namespace

extern constinit const Kernel pack_bf16_x32_scalar = {
    .name = "pack_bf16_x32_scalar",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::bf16_x32,
    .isa = Isa::scalar,
    .supports = supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
