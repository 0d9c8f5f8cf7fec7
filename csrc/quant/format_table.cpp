#include "quant/format_table.h"

#include <array>
#include <string>

#include "base/error.h"
#include "quant/dequantize.h"
#include "quant/half.h"

namespace llmcore {
namespace {

// Block sizes: the ggml project's ggml-common.h. Names as GGUF files and tools print them.
// clang-format off
constexpr std::array kFormats = {
    FormatInfo{Format::F32,       "F32",       1,   4, true},
    FormatInfo{Format::F16,       "F16",       1,   2, true},
    FormatInfo{Format::Q4_0,      "Q4_0",     32,  18, true},
    FormatInfo{Format::Q4_1,      "Q4_1",     32,  20, true},
    FormatInfo{Format::Q5_0,      "Q5_0",     32,  22, true},
    FormatInfo{Format::Q5_1,      "Q5_1",     32,  24, true},
    FormatInfo{Format::Q8_0,      "Q8_0",     32,  34, true},
    FormatInfo{Format::Q8_1,      "Q8_1",     32,  36, false},
    FormatInfo{Format::Q2_K,      "Q2_K",    256,  84, true},
    FormatInfo{Format::Q3_K,      "Q3_K",    256, 110, true},
    FormatInfo{Format::Q4_K,      "Q4_K",    256, 144, true},
    FormatInfo{Format::Q5_K,      "Q5_K",    256, 176, true},
    FormatInfo{Format::Q6_K,      "Q6_K",    256, 210, true},
    FormatInfo{Format::Q8_K,      "Q8_K",    256, 292, false},
    FormatInfo{Format::IQ2_XXS,   "IQ2_XXS", 256,  66, true},
    FormatInfo{Format::IQ2_XS,    "IQ2_XS",  256,  74, true},
    FormatInfo{Format::IQ3_XXS,   "IQ3_XXS", 256,  98, true},
    FormatInfo{Format::IQ1_S,     "IQ1_S",   256,  50, true},
    FormatInfo{Format::IQ4_NL,    "IQ4_NL",   32,  18, true},
    FormatInfo{Format::IQ3_S,     "IQ3_S",   256, 110, true},
    FormatInfo{Format::IQ2_S,     "IQ2_S",   256,  82, true},
    FormatInfo{Format::IQ4_XS,    "IQ4_XS",  256, 136, true},
    FormatInfo{Format::I8,        "I8",        1,   1, false},
    FormatInfo{Format::I16,       "I16",       1,   2, false},
    FormatInfo{Format::I32,       "I32",       1,   4, false},
    FormatInfo{Format::I64,       "I64",       1,   8, false},
    FormatInfo{Format::F64,       "F64",       1,   8, false},
    FormatInfo{Format::IQ1_M,     "IQ1_M",   256,  56, true},
    FormatInfo{Format::BF16,      "BF16",      1,   2, true},
    FormatInfo{Format::TQ1_0,     "TQ1_0",   256,  54, true},
    FormatInfo{Format::TQ2_0,     "TQ2_0",   256,  66, true},
    FormatInfo{Format::MXFP4,     "MXFP4",    32,  17, true},
};
// clang-format on

constexpr char to_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (to_upper(a[i]) != to_upper(b[i])) return false;
    return true;
}

}  // namespace

std::span<const FormatInfo> all_formats() { return kFormats; }

const FormatInfo* find_format(std::uint32_t type) {
    for (const FormatInfo& info : kFormats)
        if (static_cast<std::uint32_t>(info.format) == type) return &info;
    return nullptr;
}

const FormatInfo* find_format(std::string_view name) {
    for (const FormatInfo& info : kFormats)
        if (equal_ignoring_case(info.name, name)) return &info;
    return nullptr;
}

const FormatInfo& format_info(Format format) {
    const FormatInfo* info = find_format(static_cast<std::uint32_t>(format));
    if (info == nullptr)
        fail(ErrorCode::internal, "quant", "unknown tensor format",
             std::to_string(static_cast<std::uint32_t>(format)), "a type number of GGUF");
    return *info;
}

std::int64_t row_bytes(Format format, std::int64_t cols) {
    const FormatInfo& info = format_info(format);
    if (cols < 0 || cols % info.block_elements != 0)
        fail(ErrorCode::model, "quant", std::string("a row of ") + info.name + " is not whole blocks",
             std::to_string(cols) + " columns", "a multiple of " + std::to_string(info.block_elements));
    return cols / info.block_elements * info.block_bytes;
}

void dequantize(Format format, const void* blocks, float* out, std::int64_t n) {
    const FormatInfo& info = format_info(format);
    if (!info.can_dequantize)
        fail(ErrorCode::model, "quant", "this build cannot dequantize the tensor format", info.name,
             "a floating point or quantized format of weights");
    if (n < 0 || n % info.block_elements != 0)
        fail(ErrorCode::internal, "quant", std::string("cannot expand a part of a block of ") + info.name,
             std::to_string(n) + " elements", "a multiple of " + std::to_string(info.block_elements));
    dequantize_blocks(format, blocks, out, n / info.block_elements);
}

std::uint16_t float_to_half(float value) { return round_to_half(value); }

}  // namespace llmcore
