#include "pack_scalar.h"

namespace llmcore {
namespace {

bool supports(const Shape* shape) { return shape->k % 32 == 0; }

void run(const Args* args, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& pack = *static_cast<const PackArgs*>(args);
    const Q8x32Layout layout = q8x32_layout(pack.k);
    for (int64_t row = row_begin; row < row_end; ++row) {
        const float* x = pack.x + row * pack.x_stride;
        uint8_t* out = static_cast<uint8_t*>(pack.out) + row * pack.out_row_bytes;
        memset(out + pack.k, 0, static_cast<size_t>(layout.row_bytes - pack.k));
        int8_t* q = reinterpret_cast<int8_t*>(out);
        float* d = reinterpret_cast<float*>(out + layout.d_offset);
        float* dsum = reinterpret_cast<float*>(out + layout.dsum_offset);
        auto* sums = reinterpret_cast<int16_t*>(out + layout.sums_offset);
        for (int64_t group = 0; group < pack.k / 32; ++group) {
            d[group] = pack_group(x + 32 * group, q + 32 * group);
            dsum[group] = d[group] * static_cast<float>(sum_of(q + 32 * group, 32));
        }
        for (int64_t i = 0; i < pack.k / 16; ++i) sums[i] = static_cast<int16_t>(sum_of(q + 16 * i, 16));
    }
}

}  // namespace

extern constinit const Kernel pack_q8_32_scalar = {
    .name = "pack_q8_32_scalar",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_32,
    .isa = Isa::scalar,
    .supports = supports,
    .cost = pack_cost_scalar,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
