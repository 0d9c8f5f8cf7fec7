// Sizes and names of all tensor formats, and scalar dequantization: the truth the kernels are tested against.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "quant/formats.h"

namespace llmcore {

std::span<const FormatInfo> all_formats();

// Null if GGUF has no such type number.
const FormatInfo* find_format(std::uint32_t type);
// Null if there is none of that name; case does not matter.
const FormatInfo* find_format(std::string_view name);
// For formats known to exist.
const FormatInfo& format_info(Format format);

// Bytes of a row of `cols` elements; cols must be a multiple of the block's elements.
std::int64_t row_bytes(Format format, std::int64_t cols);

// Expands `n` elements, a multiple of the block's. Bit for bit what the gguf package computes.
// Throws Error(model) if the format cannot be dequantized by this build.
void dequantize(Format format, const void* blocks, float* out, std::int64_t n);

std::uint16_t float_to_half(float value);  // round to nearest, ties to even

}  // namespace llmcore
