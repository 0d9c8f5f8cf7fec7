#include "quant/quantize.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "base/error.h"
#include "quant/format_table.h"
#include "quant/half.h"
#include "quant/quantize_blocks.h"

namespace llmcore {
namespace {

constexpr std::uint32_t kExponentMask = 0x7F800000U;

void check_finite(const float* values, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        if ((float_bits(values[i]) & kExponentMask) != kExponentMask) continue;
        fail(ErrorCode::invalid_argument, "quantize", "a value cannot be quantized",
             std::to_string(values[i]) + " at element " + std::to_string(i), "finite numbers");
    }
}

void write_f16(const float* values, void* out, std::int64_t count) {
    constexpr float kLargest = 65504.0F;
    auto* bytes = static_cast<std::uint8_t*>(out);
    for (std::int64_t i = 0; i < count; ++i) {
        const std::uint16_t half = round_to_half(std::clamp(values[i], -kLargest, kLargest));
        std::memcpy(bytes + 2 * i, &half, 2);
    }
}

void write_bf16(const float* values, void* out, std::int64_t count) {
    auto* bytes = static_cast<std::uint8_t*>(out);
    for (std::int64_t i = 0; i < count; ++i) {
        const std::uint32_t bits = float_bits(values[i]);
        std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;  // ties to even
        if ((rounded & 0x7F80U) == 0x7F80U) rounded -= 1;                      // not to infinity
        const auto half = static_cast<std::uint16_t>(rounded);
        std::memcpy(bytes + 2 * i, &half, 2);
    }
}

// Runs an encoder a few blocks at a time, through a buffer where values are larger than encoders accept.
template <typename Block>
void encode(void (*encoder)(const float*, Block*, std::int64_t), const float* values, void* out,
            std::int64_t count, std::int64_t block_elements) {
    constexpr std::int64_t kChunk = 1024;  // a multiple of every block's elements
    auto* blocks = static_cast<Block*>(out);
    float clamped[kChunk];
    for (std::int64_t start = 0; start < count; start += kChunk) {
        const std::int64_t n = std::min(kChunk, count - start);
        for (std::int64_t i = 0; i < n; ++i)
            clamped[i] = std::clamp(values[start + i], -kLargestMagnitude, kLargestMagnitude);
        encoder(clamped, blocks + start / block_elements, n / block_elements);
    }
}

}  // namespace

bool can_quantize(Format format) {
    switch (format) {
        case Format::F32:
        case Format::F16:
        case Format::BF16:
        case Format::Q4_0:
        case Format::Q4_1:
        case Format::Q5_0:
        case Format::Q5_1:
        case Format::Q8_0:
        case Format::Q2_K:
        case Format::Q3_K:
        case Format::Q4_K:
        case Format::Q5_K:
        case Format::Q6_K:
        case Format::IQ4_NL:
        case Format::IQ4_XS:
            return true;
        default:
            return false;
    }
}

void quantize(Format format, const float* values, void* blocks, std::int64_t count) {
    const FormatInfo& info = format_info(format);
    const std::int64_t size = info.block_elements;
    if (count < 0 || count % size != 0)
        fail(ErrorCode::internal, "quantize", std::string("cannot write a part of a block of ") + info.name,
             std::to_string(count) + " elements", "a multiple of " + std::to_string(size));
    check_finite(values, count);
    switch (format) {
        case Format::F32:
            if (count > 0) std::memcpy(blocks, values, static_cast<std::size_t>(count) * sizeof(float));
            return;
        case Format::F16:
            return write_f16(values, blocks, count);
        case Format::BF16:
            return write_bf16(values, blocks, count);
        case Format::Q4_0:
            return encode(quantize_q4_0, values, blocks, count, size);
        case Format::Q4_1:
            return encode(quantize_q4_1, values, blocks, count, size);
        case Format::Q5_0:
            return encode(quantize_q5_0, values, blocks, count, size);
        case Format::Q5_1:
            return encode(quantize_q5_1, values, blocks, count, size);
        case Format::Q8_0:
            return encode(quantize_q8_0, values, blocks, count, size);
        case Format::Q2_K:
            return encode(quantize_q2_k, values, blocks, count, size);
        case Format::Q3_K:
            return encode(quantize_q3_k, values, blocks, count, size);
        case Format::Q4_K:
            return encode(quantize_q4_k, values, blocks, count, size);
        case Format::Q5_K:
            return encode(quantize_q5_k, values, blocks, count, size);
        case Format::Q6_K:
            return encode(quantize_q6_k, values, blocks, count, size);
        case Format::IQ4_NL:
            return encode(quantize_iq4_nl, values, blocks, count, size);
        case Format::IQ4_XS:
            return encode(quantize_iq4_xs, values, blocks, count, size);
        default:
            fail(ErrorCode::model, "quantize", "this build cannot write the tensor format", info.name,
                 "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL or IQ4_XS");
    }
}

}  // namespace llmcore
