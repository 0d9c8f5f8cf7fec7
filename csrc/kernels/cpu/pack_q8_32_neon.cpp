// Activations to int8 with a scale per 32.
#include "kernels/cpu/pack_neon.h"
#include "kernels/kernel.h"

namespace llmcore {
namespace {

bool supports(const Shape* shape) { return shape->k > 0 && shape->k % 32 == 0; }

double cost(const Shape* shape) { return 10 + static_cast<double>(shape->m) * static_cast<double>(shape->k); }

void pack_row(const float* x, char* out, int64_t k) {
    const Q8x32Layout layout = q8x32_layout(k);
    float* d = reinterpret_cast<float*>(out + layout.d_offset);
    float* dsum = reinterpret_cast<float*>(out + layout.dsum_offset);
    int16_t* sums = reinterpret_cast<int16_t*>(out + layout.sums_offset);
    const int64_t blocks = k / 32;
    for (int64_t block = 0; block < blocks; ++block) {
        const PackedGroup packed = pack_group(x + block * 32);
        int8_t* q = reinterpret_cast<int8_t*>(out + block * 32);
        vst1q_s8(q, packed.low);
        vst1q_s8(q + 16, packed.high);
        const int16_t low = vaddlvq_s8(packed.low);
        const int16_t high = vaddlvq_s8(packed.high);
        sums[2 * block] = low;
        sums[2 * block + 1] = high;
        d[block] = packed.d;
        dsum[block] = packed.d * static_cast<float>(low + high);
    }
    clear(out + k, out + layout.d_offset);
    clear(reinterpret_cast<char*>(d + blocks), out + layout.dsum_offset);
    clear(reinterpret_cast<char*>(dsum + blocks), out + layout.sums_offset);
    clear(reinterpret_cast<char*>(sums + 2 * blocks), out + layout.row_bytes);
}

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PackArgs& args = *static_cast<const PackArgs*>(base);
    for (int64_t row = row_begin; row < row_end; ++row) {
        pack_row(args.x + row * args.x_stride, static_cast<char*>(args.out) + row * args.out_row_bytes,
                 args.k);
    }
}

}  // namespace

extern constinit const Kernel pack_q8_32_neon = {
    .name = "pack_q8_32_neon",
    .op = Op::pack,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::f32,
    .out_layout = Layout::q8_32,
    .isa = Isa::neon,
    .supports = supports,
    .cost = cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
