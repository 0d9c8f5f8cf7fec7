// Random weights in any format: arbitrary bits, but scales that are finite and of a sane size.
#pragma once

#include <cstdint>
#include <vector>

#include "harness.h"
#include "quant/formats.h"

namespace llmcore::test {

// `rows` rows of `cols` elements, exactly as many bytes as they need, so that a sanitizer sees the first byte
// too far.
std::vector<std::uint8_t> random_weights(Format format, std::int64_t rows, std::int64_t cols, Random& random);

// Blocks of one byte repeated, but for the scales; for quantized formats.
std::vector<std::uint8_t> filled_weights(Format format, std::int64_t rows, std::int64_t cols,
                                         std::uint8_t byte, Random& random);

// Formats that random_weights() knows: all that can be dequantized.
std::vector<Format> weight_formats();

}  // namespace llmcore::test
