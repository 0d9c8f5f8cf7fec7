// matmul_bf16 by Hopper's wgmma, for many tokens.
#pragma once

#if defined(__CUDACC__)
#include <cuda.h>  // types only: the driver's function is looked up
#endif

#include <algorithm>

#include "cuda/kernels/matmul_bf16.h"
#include "cuda/kernels/matmul_wgmma_kernel.h"

namespace llmcore::cuda {

#if defined(__CUDACC__)

constexpr int64_t kWgmmaLeastTokens = 3;

inline std::size_t wgmma_workspace_bytes(const DeviceLimits& limits) {
    return kMostSplitTiles * sizeof(uint32_t) +
           static_cast<std::size_t>(limits.multiprocessors) * kPartFloats * sizeof(float);
}

// The input as boxes of `tokens` rows and a chunk of columns. False where the driver cannot say.
bool make_input_map(CUtensorMap& map, const uint16_t* input, int64_t rows, int64_t columns, int tokens);

// Whether this build has the kernel's code for the device: elsewhere it is empty.
template <Packing P, int Tokens>
bool has_wgmma_code() {
    static const bool has = [] {
        cudaFuncAttributes attributes = {};
        if (cudaFuncGetAttributes(&attributes, matmul_wgmma_kernel<P, Tokens>) != cudaSuccess) {
            static_cast<void>(cudaGetLastError());
            return false;
        }
        return attributes.numRegs >= 64;
    }();
    return has;
}

// Tiles of a product, counting for every expert but the first what an even share would not have.
inline int64_t wgmma_tiles(const MatmulArgs& args, int64_t tokens) {
    const int64_t token_blocks = tiles_of(args.m, tokens);
    return matmul_units(args, kWgmmaRows) *
           (args.expert_begin == nullptr ? token_blocks : token_blocks + args.n_experts);
}

// As many as run at once, never more, for blocks wait for one another; one a multiprocessor where they would
// have little to do each, for more parts of a tile take longer to add up.
template <Packing P, int Tokens>
int64_t wgmma_blocks(const DeviceLimits& limits, int64_t parts) {
    constexpr int64_t kLeastParts = 8;
    static const int resident = [] {
        int blocks = 0;
        check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, matmul_wgmma_kernel<P, Tokens>,
                                                            kWgmmaThreads, WgmmaTile<P, Tokens>::kBytes),
              "occupancy of a kernel");
        return std::max(1, blocks);
    }();
    const int64_t most = int64_t{std::min(resident, WgmmaTile<P, Tokens>::kBlocks)} * limits.multiprocessors;
    return std::min<int64_t>(parts, parts < most * kLeastParts ? limits.multiprocessors : most);
}

template <Packing P, int Tokens>
bool launch_wgmma(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                  const uint16_t* input, bool splits_tiles) {
    using Tile = WgmmaTile<P, Tokens>;
    if (!has_wgmma_code<P, Tokens>()) return false;
    if (static_cast<std::size_t>(Tile::kBytes) > limits.shared_bytes_per_block) return false;
    CUtensorMap map;
    if (!make_input_map(map, input, args.m, tiles_of(args.k, kTileCols) * kTileCols, Tokens)) return false;
    auto* const kernel = matmul_wgmma_kernel<P, Tokens>;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kBytes),
          "shared memory of a kernel");
    const int64_t tiles = wgmma_tiles(args, Tokens);
    const int64_t parts = splits_tiles ? tiles * tiles_of(args.k, kTileCols) : tiles;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(wgmma_blocks<P, Tokens>(limits, parts)));
    config.blockDim = dim3(kWgmmaThreads);
    config.dynamicSmemBytes = Tile::kBytes;
    config.stream = static_cast<cudaStream_t>(stream.handle);
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute;
    config.numAttrs = stream.dependent_launch ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, map,
                             MatmulWgmmaArgs{args, matmul_units(args, kWgmmaRows),
                                             static_cast<int32_t>(tiles_of(args.m, Tokens)), splits_tiles}),
          "launch of a kernel");
    return true;
}

// The time of a product in whole tiles of `tokens`, in token columns of one block; smaller tiles convert
// weights oftener.
inline int64_t wgmma_cost(const DeviceLimits& limits, const MatmulArgs& args, int64_t tokens,
                          int64_t tile_tokens) {
    const int64_t experts = args.expert_begin == nullptr ? 1 : args.n_experts;
    const int64_t tiles = matmul_units(args, kWgmmaRows) * tiles_of(tokens, tile_tokens) * experts;
    return tiles_of(tiles, limits.multiprocessors) * (tile_tokens + 24);
}

// Tiles that blocks share, so that all have the same to do.
template <Packing P, int Tokens>
bool launch_split(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                  const uint16_t* input) {
    return args.workspace != nullptr && wgmma_tiles(args, Tokens) <= kMostSplitTiles &&
           launch_wgmma<P, Tokens>(stream, limits, args, input, true);
}

// A few tokens: one token block. Experts' tiles stay whole.
template <Packing P, int Tokens>
bool launch_few(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                const uint16_t* input) {
    if (args.expert_begin == nullptr) return launch_split<P, Tokens>(stream, limits, args, input);
    return wgmma_tiles(args, Tokens) >= limits.multiprocessors &&
           launch_wgmma<P, Tokens>(stream, limits, args, input, false);
}

// False: no such device, no such code in this build, or too few tiles to occupy the device. `tokens`: that
// share a matrix.
template <Packing P>
bool matmul_wgmma(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                  const uint16_t* input, int64_t tokens) {
    if (limits.compute_capability != 90 || tokens < kWgmmaLeastTokens) return false;
    if (tokens <= 16 && launch_few<P, 16>(stream, limits, args, input)) return true;
    if (tokens > 16 && tokens <= 32 && launch_few<P, 32>(stream, limits, args, input)) return true;
    if (tokens > 32 && tokens <= 64 && launch_few<P, 64>(stream, limits, args, input)) return true;
    if (tokens > 64 && tokens <= 128 && launch_few<P, 128>(stream, limits, args, input)) return true;
    const int64_t experts = args.expert_begin == nullptr ? 1 : args.n_experts;
    const int64_t tiles = matmul_units(args, kWgmmaRows) * tiles_of(tokens, 128) * experts;
    const int64_t turns = tiles_of(tiles, limits.multiprocessors);
    // Whole tiles would leave more than a fifth of the blocks' time unused.
    if (args.expert_begin == nullptr && 5 * tiles < 4 * turns * limits.multiprocessors &&
        launch_split<P, 128>(stream, limits, args, input))
        return true;
    if (tokens < 48 || tiles * (tokens < 96 ? 1 : 3) < limits.multiprocessors) return false;
    if (wgmma_cost(limits, args, tokens, 256) <= wgmma_cost(limits, args, tokens, 128))
        return launch_wgmma<P, 256>(stream, limits, args, input, false);
    return launch_wgmma<P, 128>(stream, limits, args, input, false);
}

#else

template <Packing P>
bool matmul_wgmma(const Stream&, const DeviceLimits&, const MatmulArgs&, const uint16_t*, int64_t) {
    return false;
}

#endif

}  // namespace llmcore::cuda
