// GPT-2's map between bytes and characters: printable Latin-1 characters stand for themselves, the other
// bytes for U+0100 and up, in order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace llmcore {

// Code points by byte; all are below U+0144.
inline std::array<std::uint16_t, 256> byte_level_code_points() {
    std::array<std::uint16_t, 256> points;
    std::uint16_t next = 256;
    for (std::uint16_t byte = 0; byte < 256; ++byte) {
        const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        points[byte] = printable ? byte : next++;
    }
    return points;
}

// The characters in UTF-8, by byte.
inline std::array<std::string, 256> byte_level_alphabet() {
    const std::array<std::uint16_t, 256> points = byte_level_code_points();
    std::array<std::string, 256> alphabet;
    for (std::size_t byte = 0; byte < 256; ++byte) {
        const std::uint16_t point = points[byte];
        if (point < 0x80) {
            alphabet[byte] = static_cast<char>(point);
        } else {
            alphabet[byte] = {static_cast<char>(0xC0 | point >> 6), static_cast<char>(0x80 | (point & 0x3F))};
        }
    }
    return alphabet;
}

}  // namespace llmcore
