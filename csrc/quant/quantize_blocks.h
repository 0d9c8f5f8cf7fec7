// The encoders behind quantize(): each writes n_blocks blocks from finite values no larger than
// kLargestMagnitude.
#pragma once

#include <cstdint>

#include "quant/formats.h"

namespace llmcore {

constexpr int kSuper = 256;  // elements of the blocks that hold integer scales of sub-blocks

// Beyond what any block format can hold, and small enough that its square is far from overflow.
constexpr float kLargestMagnitude = 1e9F;

// No block format can tell values below this from zero: their smallest step is 2^-24.
constexpr float kSmallestMagnitude = 1e-9F;

void quantize_q4_0(const float* values, BlockQ4_0* blocks, std::int64_t n_blocks);
void quantize_q5_0(const float* values, BlockQ5_0* blocks, std::int64_t n_blocks);
void quantize_q8_0(const float* values, BlockQ8_0* blocks, std::int64_t n_blocks);
void quantize_iq4_nl(const float* values, BlockIQ4_NL* blocks, std::int64_t n_blocks);

void quantize_q4_1(const float* values, BlockQ4_1* blocks, std::int64_t n_blocks);
void quantize_q5_1(const float* values, BlockQ5_1* blocks, std::int64_t n_blocks);

void quantize_q3_k(const float* values, BlockQ3_K* blocks, std::int64_t n_blocks);
void quantize_q6_k(const float* values, BlockQ6_K* blocks, std::int64_t n_blocks);
void quantize_iq4_xs(const float* values, BlockIQ4_XS* blocks, std::int64_t n_blocks);

void quantize_q2_k(const float* values, BlockQ2_K* blocks, std::int64_t n_blocks);
void quantize_q4_k(const float* values, BlockQ4_K* blocks, std::int64_t n_blocks);
void quantize_q5_k(const float* values, BlockQ5_K* blocks, std::int64_t n_blocks);

}  // namespace llmcore
