#include "tokenizer/utf8_assembler.h"

#include <cstddef>
#include <utility>

namespace llmcore {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// A row of table 3-7 of the Unicode standard (well-formed UTF-8): a sequence's length by its first byte, and
// the range of its second byte; later bytes are 80..BF. Length 0: no character begins with this byte.
struct Lead {
    std::size_t length;
    unsigned char low;
    unsigned char high;
};

constexpr Lead lead_of(unsigned char byte) {
    if (byte < 0x80) return {1, 0, 0};
    if (byte < 0xC2) return {0, 0, 0};
    if (byte < 0xE0) return {2, 0x80, 0xBF};
    if (byte == 0xE0) return {3, 0xA0, 0xBF};
    if (byte == 0xED) return {3, 0x80, 0x9F};
    if (byte < 0xF0) return {3, 0x80, 0xBF};
    if (byte == 0xF0) return {4, 0x90, 0xBF};
    if (byte < 0xF4) return {4, 0x80, 0xBF};
    if (byte == 0xF4) return {4, 0x80, 0x8F};
    return {0, 0, 0};
}

// How many bytes at the front of `bytes` (its first being `lead`'s) can belong to one character.
std::size_t valid_prefix(std::string_view bytes, const Lead& lead) {
    std::size_t n = 1;
    unsigned char low = lead.low;
    unsigned char high = lead.high;
    while (n < lead.length && n < bytes.size()) {
        const auto byte = static_cast<unsigned char>(bytes[n]);
        if (byte < low || byte > high) break;
        low = 0x80;
        high = 0xBF;
        ++n;
    }
    return n;
}

}  // namespace

std::string Utf8Assembler::push(std::string_view bytes) {
    std::string input = std::exchange(pending_, {});
    input.append(bytes);
    std::string text;
    text.reserve(input.size());
    std::string_view rest = input;
    while (!rest.empty()) {
        const Lead lead = lead_of(static_cast<unsigned char>(rest.front()));
        const std::size_t valid = valid_prefix(rest, lead);
        if (valid == lead.length) {
            text.append(rest.substr(0, valid));
        } else if (lead.length != 0 && valid == rest.size()) {
            pending_ = rest;
            break;
        } else {
            text.append(kReplacement);
        }
        rest.remove_prefix(valid);
    }
    return text;
}

std::string Utf8Assembler::flush() {
    if (pending_.empty()) return {};
    pending_.clear();
    return std::string(kReplacement);
}

}  // namespace llmcore
