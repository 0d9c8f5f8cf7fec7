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

constexpr int64_t kWgmmaLeastTokens = 48;
constexpr int64_t kWgmmaUsualTokens =
    96;  // from here on a third of the device's blocks is enough for it to win

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
        return attributes.numRegs >= 100;
    }();
    return has;
}

template <Packing P, int Tokens>
bool launch_wgmma(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                  const uint16_t* input) {
    if (!has_wgmma_code<P, Tokens>()) return false;
    constexpr int kBytes = WgmmaShared<P, Tokens>::kBytes;
    if (static_cast<std::size_t>(kBytes) > limits.shared_bytes_per_block) return false;
    CUtensorMap map;
    if (!make_input_map(map, input, args.m, tiles_of(args.k, kTileCols) * kTileCols, Tokens)) return false;
    auto* const kernel = matmul_wgmma_kernel<P, Tokens>;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
          "shared memory of a kernel");
    const int units = matmul_units(args, kWgmmaRows);
    const int64_t token_blocks = tiles_of(args.m, Tokens);
    // Experts: each may have one token block more than its even share, and none has more than are.
    const int64_t tiles =
        units * (args.expert_begin == nullptr ? token_blocks : token_blocks + args.n_experts);
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(std::min<int64_t>(tiles, limits.multiprocessors)));
    config.blockDim = dim3(kWgmmaThreads);
    config.dynamicSmemBytes = kBytes;
    config.stream = static_cast<cudaStream_t>(stream.handle);
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute;
    config.numAttrs = stream.dependent_launch ? 1 : 0;
    check(cudaLaunchKernelEx(&config, kernel, map,
                             MatmulWgmmaArgs{args, units, static_cast<int32_t>(token_blocks)}),
          "launch of a kernel");
    return true;
}

// The time of a product in tiles of `tokens`, in token columns of one block; smaller tiles convert weights
// oftener.
inline int64_t wgmma_cost(const DeviceLimits& limits, const MatmulArgs& args, int64_t tokens,
                          int64_t tile_tokens) {
    const int64_t experts = args.expert_begin == nullptr ? 1 : args.n_experts;
    const int64_t tiles = matmul_units(args, kWgmmaRows) * tiles_of(tokens, tile_tokens) * experts;
    return tiles_of(tiles, limits.multiprocessors) * (tile_tokens + 24);
}

// False: no such device, no such code in this build, or too few tiles to occupy the device.
template <Packing P>
bool matmul_wgmma(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                  const uint16_t* input, int64_t tokens) {
    if (limits.compute_capability != 90 || tokens < kWgmmaLeastTokens) return false;
    const int64_t experts = args.expert_begin == nullptr ? 1 : args.n_experts;
    const int64_t tiles = matmul_units(args, kWgmmaRows) * tiles_of(tokens, 128) * experts;
    if (tiles * (tokens < kWgmmaUsualTokens ? 1 : 3) < limits.multiprocessors) return false;
    if (wgmma_cost(limits, args, tokens, 256) <= wgmma_cost(limits, args, tokens, 128))
        return launch_wgmma<P, 256>(stream, limits, args, input);
    return launch_wgmma<P, 128>(stream, limits, args, input);
}

#else

template <Packing P>
bool matmul_wgmma(const Stream&, const DeviceLimits&, const MatmulArgs&, const uint16_t*, int64_t) {
    return false;
}

#endif

}  // namespace llmcore::cuda
