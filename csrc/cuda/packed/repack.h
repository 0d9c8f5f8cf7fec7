// From rows of GGUF blocks to super-tiles (frag16.h).
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/packed/packed.h"
#include "quant/formats.h"

namespace llmcore::cuda {

// Throws Error(model) if the format cannot be a weight.
Packing packing_of(Format format);

// Of n rows and k columns, padded to whole super-tiles; f32: to 16 rows and 256 columns.
std::int64_t packed_bytes(Packing packing, std::int64_t n, std::int64_t k);

// `rows`: n rows of k elements as GGUF has them, of any alignment; k is a multiple of the format's block.
// `packed`: packed_bytes() bytes, aligned to 16. Both give the same bytes.
void repack_host(Format format, const void* rows, std::int64_t n, std::int64_t k, void* packed);

// Both in device memory. A format that becomes s8x16 is repacked on the host, between two copies: use
// repack_host() where the rows are there.
void repack_device(const Stream& stream, Format format, const void* device_rows, std::int64_t n,
                   std::int64_t k, void* device_packed);

}  // namespace llmcore::cuda
