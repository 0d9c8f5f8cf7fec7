#include "random_weights.h"

#include <cstring>

#include "quant/format_table.h"

namespace llmcore::test {

namespace {

// Where the blocks of a format keep their 16-bit floats.
std::vector<std::size_t> half_offsets(Format format) {
    switch (format) {
        case Format::Q4_0:
        case Format::Q5_0:
        case Format::Q8_0:
        case Format::IQ4_NL:
        case Format::IQ4_XS:
            return {0};
        case Format::Q4_1:
        case Format::Q5_1:
        case Format::Q4_K:
        case Format::Q5_K:
            return {0, 2};
        case Format::Q2_K:
            return {80, 82};
        case Format::Q3_K:
            return {108};
        case Format::Q6_K:
            return {208};
        default:
            return {};
    }
}

}  // namespace

std::vector<Format> weight_formats() {
    std::vector<Format> formats;
    for (const FormatInfo& info : all_formats())
        if (info.can_dequantize) formats.push_back(info.format);
    return formats;
}

std::vector<std::uint8_t> random_weights(Format format, std::int64_t rows, std::int64_t cols,
                                         Random& random) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(row_bytes(format, cols) * rows));
    const auto count = static_cast<std::size_t>(rows * cols);
    if (format == Format::F32) {
        for (std::size_t i = 0; i < count; ++i) {
            const float value = random.normal();
            std::memcpy(bytes.data() + 4 * i, &value, 4);
        }
        return bytes;
    }
    if (format == Format::F16 || format == Format::BF16) {
        for (std::size_t i = 0; i < count; ++i) {
            const float value = random.normal();
            std::uint32_t bits = 0;
            std::memcpy(&bits, &value, 4);
            const auto half =
                format == Format::F16 ? float_to_half(value) : static_cast<std::uint16_t>(bits >> 16);
            std::memcpy(bytes.data() + 2 * i, &half, 2);
        }
        return bytes;
    }
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
    const auto block = static_cast<std::size_t>(format_info(format).block_bytes);
    for (std::size_t start = 0; start < bytes.size(); start += block)
        for (const std::size_t offset : half_offsets(format)) {
            const float scale = (static_cast<float>(random.below(2000)) - 1000.0F) / 20000.0F;
            const std::uint16_t half = float_to_half(scale);
            std::memcpy(bytes.data() + start + offset, &half, 2);
        }
    return bytes;
}

}  // namespace llmcore::test
