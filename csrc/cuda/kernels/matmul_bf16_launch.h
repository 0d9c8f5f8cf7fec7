// Which shape of matmul_bf16.h's kernel a product takes, and its launch: included by the one file a packing.
#pragma once

#include <algorithm>

#include "cuda/kernels/matmul_bf16.h"
#include "cuda/kernels/matmul_wgmma.h"

namespace llmcore::cuda {

// Wide: many rows, so that the input is read from the second-level cache few times. Narrow: many blocks.
using Wide128 = MatmulShape<128, 4, 2, 1, 64>;
using Wide64 = MatmulShape<64, 4, 1, 2, 64>;
using Wide32 = MatmulShape<32, 4, 1, 2, 64>;
using Wide16 = MatmulShape<16, 4, 1, 2, 64>;
using Narrow64 = MatmulShape<64, 1, 1, 8, 256>;
using Narrow32 = MatmulShape<32, 1, 1, 8, 256>;
using Narrow16 = MatmulShape<16, 1, 1, 8, 256>;

// Chunks under way that fit, 0 if none. Two blocks a multiprocessor where that leaves each enough of them.
template <Packing P, class Shape>
int matmul_ahead(const DeviceLimits& limits, bool several_blocks) {
    const int tile_bytes = DequantBf16<P>::kBytes;
    const auto fits = [&](int ahead, std::size_t room) {
        return static_cast<std::size_t>(Shape::shared_bytes(tile_bytes, ahead)) <= room;
    };
    constexpr int kEnough = 2 * Shape::kTileChunks < kMostAhead ? 2 * Shape::kTileChunks : kMostAhead;
    const std::size_t half =
        limits.shared_bytes_per_multiprocessor / 2 - 1024;  // of which a block takes 1024 itself
    int ahead = kMostAhead;
    if (several_blocks && fits(kEnough, half))
        while (!fits(ahead, half)) --ahead;
    while (ahead > 0 && !fits(ahead, limits.shared_bytes_per_block)) --ahead;
    return ahead;
}

// Input rows that share a matrix, as far as the host knows, which does not see the experts' segments.
inline int64_t expected_tokens(const MatmulArgs& args) {
    return args.expert_begin == nullptr
               ? args.m
               : std::min<int64_t>(args.m, tiles_of(3 * int64_t{args.m}, 2 * args.n_experts));
}

template <class Shape>
int64_t matmul_blocks(const MatmulArgs& args) {
    const int64_t experts = args.expert_begin == nullptr ? 1 : args.n_experts;
    return matmul_units(args, Shape::kRows) * tiles_of(expected_tokens(args), Shape::kTokens) * experts;
}

template <Packing P, class Shape>
void launch_matmul(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                   const uint16_t* input) {
    MatmulBf16Args kernel_args = {};
    kernel_args.matmul = args;
    kernel_args.input = input;
    kernel_args.units = matmul_units(args, Shape::kRows);
    kernel_args.token_blocks = static_cast<int32_t>(tiles_of(expected_tokens(args), Shape::kTokens));
    kernel_args.ahead = matmul_ahead<P, Shape>(limits, matmul_blocks<Shape>(args) > limits.multiprocessors);
    LaunchShape shape;
    shape.grid_x = static_cast<unsigned>(kernel_args.units) * static_cast<unsigned>(kernel_args.token_blocks);
    shape.grid_z = args.expert_begin == nullptr ? 1 : static_cast<unsigned>(args.n_experts);
    shape.threads = Shape::kThreads;
    shape.shared_bytes =
        static_cast<std::size_t>(Shape::shared_bytes(DequantBf16<P>::kBytes, kernel_args.ahead));
    launch(stream, matmul_bf16_kernel<P, Shape>, shape, kernel_args);
}

// The wide shape where it fits and makes enough blocks, else the narrow one.
template <Packing P, class Wide, class Narrow>
void launch_wide_or_narrow(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                           const uint16_t* input) {
    if (matmul_ahead<P, Wide>(limits, false) >= 2 && matmul_blocks<Wide>(args) >= limits.multiprocessors)
        return launch_matmul<P, Wide>(stream, limits, args, input);
    launch_matmul<P, Narrow>(stream, limits, args, input);
}

template <Packing P>
void matmul_bf16_of(const Stream& stream, const DeviceLimits& limits, const MatmulArgs& args,
                    const uint16_t* input) {
    const int64_t tokens = expected_tokens(args);
    if (matmul_wgmma<P>(stream, limits, args, input, tokens)) return;
    if (tokens > 64 && matmul_ahead<P, Wide128>(limits, false) >= 2)
        launch_wide_or_narrow<P, Wide128, Narrow64>(stream, limits, args, input);
    else if (tokens > 32)
        launch_wide_or_narrow<P, Wide64, Narrow64>(stream, limits, args, input);
    else if (tokens > 16)
        launch_wide_or_narrow<P, Wide32, Narrow32>(stream, limits, args, input);
    else
        launch_wide_or_narrow<P, Wide16, Narrow16>(stream, limits, args, input);
}

}  // namespace llmcore::cuda
