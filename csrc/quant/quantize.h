// Floats to tensor blocks, the other direction of dequantize(). Every encoder searches for the scales (and
// minimums) that minimise the squared error of what dequantize() gives back.
#pragma once

#include <cstdint>

#include "quant/formats.h"

namespace llmcore {

// Whether quantize() can write the format.
bool can_quantize(Format format);

// Writes `count` values, a multiple of the block's elements, as blocks. Single-threaded; blocks do not depend
// on each other, so any split into whole blocks gives the same bytes, and so does every machine.
// Values that a block's half-precision scale cannot reach become the nearest that it can.
// Throws Error(invalid_argument) for a NaN or an infinity (the message names its index, the caller adds the
// tensor), Error(model) for a format that cannot be written.
void quantize(Format format, const float* values, void* blocks, std::int64_t count);

}  // namespace llmcore
