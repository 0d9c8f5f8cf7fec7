// Rows of an embedding table.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/packed/packed.h"

namespace llmcore::cuda {

// out[i] = scale * (row tokens[i] of the packed table of n rows and k columns), zero where there is no such
// row. `tokens` and `out` are in device memory; rows of `out` are out_stride floats apart.
void embed_rows(const Stream& stream, Packing packing, const unsigned char* table, std::int64_t n,
                std::int64_t k, const std::int32_t* tokens, std::int32_t n_rows, float scale, float* out,
                std::int64_t out_stride);

}  // namespace llmcore::cuda
