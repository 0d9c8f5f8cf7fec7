// Products for up to 8 rows of activations: as fast as the weights arrive. Integer codes meet int8
// activations, one row by dp4a, more in mma m16n8k32; floats meet floats.
//
// A block a multiprocessor takes tiles of 16 weight rows, its warps every n-th super-tile. A warp streams its
// super-tiles through a ring of its own in shared memory, across the borders of tiles, so that copies never
// pause.
#pragma once

#include <cstdint>

#include "cuda/kernels/matmul.h"
#include "cuda/kernels/pack_q8.h"

namespace llmcore::cuda {

constexpr int kGemvRows = 8;       // activation rows, at most
constexpr int kFusedPackRows = 2;  // up to here the product packs its input itself

struct GemvArgs {
    MatmulArgs matmul;  // no experts
    PackInput input;
    const unsigned char* packed;  // null, or the input packed by pack_q8_rows; not for f16 and bf16
    int32_t stages = 0;           // set by gemv(): super-tiles that a warp has under way
};

// How many rows of activations the kernel of a packing takes for this k (0: none); others go to matmul_bf16.
int gemv_rows(const DeviceLimits& limits, Packing packing, int64_t k);

// matmul.m <= gemv_rows(). Any Packing but f32.
void gemv(const Stream& stream, const DeviceLimits& limits, Packing packing, const GemvArgs& args);

// float32 weights (routers, small models), any number of rows, no norm: exact, and slow for large ones.
void matmul_f32(const Stream& stream, const MatmulArgs& args, const float* input, int64_t input_stride);

}  // namespace llmcore::cuda
