#include "cuda/kernels/pack_q8.h"

namespace llmcore::cuda {

namespace {

struct PackArgs {
    PackInput input;
    unsigned char* packed;
};

SIMT_GLOBAL void SIMT_BOUNDS(256, 1) pack_kernel(const PackArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    auto* scratch = reinterpret_cast<float*>(shared_memory());
    const int64_t padded = tiles_of(args.input.k, kTileCols) * kTileCols;
    unsigned char* row = args.packed + blockIdx.x * q8_row_bytes(args.input.k);
    auto* scales = reinterpret_cast<float*>(row + padded);
    auto* sums = reinterpret_cast<int32_t*>(row + padded + padded / 32 * 4);
    pack_row(args.input, blockIdx.x, scratch, [&](int column, uint32_t word, float scale, int sum) {
        *reinterpret_cast<uint32_t*>(row + column) = word;
        if (column % 32 == 0) scales[column / 32] = scale;
        const int sum16 = sum_of_16(sum);
        if (column % 16 == 0) sums[column / 16] = sum16;
    });
}

}  // namespace

void pack_q8_rows(const Stream& stream, const PackInput& input, int32_t m, unsigned char* packed) {
    if (m == 0) return;
    const LaunchShape shape = {
        .grid_x = static_cast<unsigned>(m), .threads = 256, .shared_bytes = 256 / kWarp * 4};
    launch(stream, pack_kernel, shape, PackArgs{input, packed});
}

}  // namespace llmcore::cuda
