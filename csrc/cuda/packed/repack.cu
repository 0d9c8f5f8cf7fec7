#include "cuda/packed/repack.h"

#include <vector>

#include "cuda/packed/repack_tile.h"
#include "quant/format_table.h"

namespace llmcore::cuda {

namespace {

constexpr int kThreads = 128;

// A block a tile.
template <Packing P>
SIMT_GLOBAL void SIMT_BOUNDS(kThreads, 4) repack_kernel(const RepackArgs args) {
    next_kernel_may_start();
    previous_kernels_done();
    const int64_t tile = blockIdx.x;
    const int pieces = pieces_of_tile<P>(args.k);
    auto* packed = reinterpret_cast<uint4*>(args.packed) + tile * pieces;
    for (int piece = static_cast<int>(threadIdx.x); piece < pieces; piece += kThreads)
        packed[piece] = gather_piece<P>(args, tile, piece);
}

}  // namespace

void repack_device(const Stream& stream, Format format, const void* device_rows, std::int64_t n,
                   std::int64_t k, void* device_packed) {
    if (n == 0 || k == 0) return;
    const Packing packing = packing_of(format);
    const RepackArgs args = {static_cast<const unsigned char*>(device_rows),
                             static_cast<unsigned char*>(device_packed), row_bytes(format, k), n, k};
    const bool gathered = with_gathered(packing, [&](auto constant) {
        constexpr Packing kPacking = decltype(constant)::value;
        const LaunchShape shape = {.grid_x = static_cast<unsigned>(tile_count<kPacking>(n, k)),
                                   .threads = kThreads};
        launch(stream, repack_kernel<kPacking>, shape, args);
    });
    if (gathered) return;
    std::vector<unsigned char> rows(static_cast<std::size_t>(args.row_bytes * n));
    std::vector<unsigned char> packed(static_cast<std::size_t>(packed_bytes(packing, n, k)));
    copy_to_host(rows.data(), device_rows, rows.size(), stream);
    wait_for(stream);
    repack_host(format, rows.data(), n, k, packed.data());
    copy_to_device(device_packed, packed.data(), packed.size(), stream);
    wait_for(stream);
}

}  // namespace llmcore::cuda
