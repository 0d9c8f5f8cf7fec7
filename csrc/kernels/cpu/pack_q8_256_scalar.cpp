#include "pack_scalar.h"

namespace llmcore {
namespace {

bool supports(const Shape* shape) { return shape->k % 256 == 0; }

void run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& pack = *static_cast<const PackArgs*>(args);
    const Q8x256Layout layout = q8x256_layout(pack.k);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* x = pack.x + row * pack.x_stride;
        uint8_t* out = static_cast<uint8_t*>(pack.out) + row * pack.out_row_bytes;
        memset(out + pack.k, 0, static_cast<size_t>(layout.row_bytes - pack.k));
        int8_t* q = reinterpret_cast<int8_t*>(out);
        float* d = reinterpret_cast<float*>(out + layout.d_offset);
        int16_t* sums = reinterpret_cast<int16_t*>(out + layout.sums_offset);
        for (int64_t group = 0; group < pack.k / 256; ++group)
            d[group] = pack_group(x + 256 * group, 256, q + 256 * group);
        for (int64_t group = 0; group < pack.k / 16; ++group)
            sums[group] = static_cast<int16_t>(sum_of(q + 16 * group, 16));
    }
}

}  // namespace

extern constinit const Kernel pack_q8_256_scalar = {
    .name = "pack_q8_256_scalar",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_256,
    .isa = Isa::scalar,
    .supports = supports,
    .cost = pack_cost_scalar,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
