#include "gguf/printable.h"

#include <cstdint>

namespace llmcore::gguf {
namespace {

struct Character {
    std::uint32_t code = 0;
    std::size_t length = 0;  // bytes; 0 if the text does not begin with valid UTF-8
};

// The first character of a text that is not empty. Well-formed sequences: the Unicode standard, table 3-7.
Character first_character(std::string_view text) {
    const auto byte = [&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
    };
    const std::uint32_t lead = byte(0);
    if (lead < 0x80) return {lead, 1};
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
    std::uint32_t code = lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return {};
        code = code << 6 | (byte(i) & 0x3F);
    }
    const bool overlong = code < (length == 2 ? 0x80u : length == 3 ? 0x800u : 0x10000u);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (overlong || surrogate || code > 0x10FFFF) return {};
    return {code, length};
}

bool is_printable(std::uint32_t code) {
    if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return false;
    const bool invisible = (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
                           (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF;
    return !invisible;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = first_character(text).length;
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

std::string printable(std::string_view text, std::size_t limit) {
    constexpr char digits[] = "0123456789abcdef";
    std::string result = "'";
    std::string_view rest = text;
    while (!rest.empty() && text.size() - rest.size() < limit) {
        const Character character = first_character(rest);
        if (character.length != 0 && is_printable(character.code)) {
            result.append(rest.substr(0, character.length));
            rest.remove_prefix(character.length);
        } else {
            const auto value = static_cast<unsigned char>(rest.front());
            result.append("\\x").append(1, digits[value >> 4]).append(1, digits[value & 15]);
            rest.remove_prefix(1);
        }
    }
    result.append("'");
    if (!rest.empty()) result.append("... (" + std::to_string(text.size()) + " bytes)");
    return result;
}

}  // namespace llmcore::gguf
