#include "random_weights.h"

#include <cstddef>
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
        case Format::IQ1_S:
        case Format::IQ2_XXS:
        case Format::IQ2_XS:
        case Format::IQ2_S:
        case Format::IQ3_XXS:
        case Format::IQ3_S:
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
        case Format::TQ1_0:
            return {52};
        case Format::TQ2_0:
            return {64};
        default:
            return {};
    }
}

// Scales that are no half in one place: MXFP4 has an exponent, IQ1_M a nibble of a half in each of four
// words.
void set_other_scale(Format format, float scale, Random& random, std::uint8_t* block) {
    if (format == Format::MXFP4) {
        block[0] = static_cast<std::uint8_t>(120 + random.below(10));
    } else if (format == Format::IQ1_M) {
        const std::uint16_t half = float_to_half(scale);
        for (int i = 0; i < 4; ++i) {
            std::uint8_t& top = block[offsetof(BlockIQ1_M, scales) + 2 * i + 1];
            top = static_cast<std::uint8_t>((top & 0x0F) | ((half >> (4 * i)) << 4));
        }
    }
}

void set_scales(Format format, Random& random, std::vector<std::uint8_t>& bytes) {
    const auto block = static_cast<std::size_t>(format_info(format).block_bytes);
    const auto random_scale = [&] { return (static_cast<float>(random.below(2000)) - 1000.0F) / 20000.0F; };
    for (std::size_t start = 0; start < bytes.size(); start += block) {
        for (const std::size_t offset : half_offsets(format)) {
            const std::uint16_t half = float_to_half(random_scale());
            std::memcpy(bytes.data() + start + offset, &half, 2);
        }
        set_other_scale(format, random_scale(), random, bytes.data() + start);
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
    set_scales(format, random, bytes);
    return bytes;
}

std::vector<std::uint8_t> filled_weights(Format format, std::int64_t rows, std::int64_t cols,
                                         std::uint8_t byte, Random& random) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(row_bytes(format, cols) * rows), byte);
    set_scales(format, random, bytes);
    return bytes;
}

}  // namespace llmcore::test
