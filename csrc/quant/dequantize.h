// The loop over blocks behind dequantize().
#pragma once

#include <cstdint>

#include "quant/formats.h"

namespace llmcore {

// Expands `n_blocks` blocks of a format whose FormatInfo::can_dequantize is set; does nothing for others.
void dequantize_blocks(Format format, const void* blocks, float* out, std::int64_t n_blocks);

}  // namespace llmcore
