// SentencePiece's precompiled character map: what is written differently before a text is cut into pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmcore {

// The format is SentencePiece's: four bytes for the size of a double-array trie (darts-clone), the trie's
// 32-bit units, all little-endian, then the replacements, each with a zero byte behind it.
class Charsmap {
public:
    Charsmap() = default;  // changes nothing
    // Everything a lookup follows is checked here. Throws Error(model).
    explicit Charsmap(std::span<const std::byte> bytes);

    struct Match {
        std::size_t length = 0;  // bytes of the text that are replaced; 0: none
        std::string_view replacement;
    };
    // The longest entry that `text` begins with.
    Match longest(std::string_view text) const;

private:
    void check_units() const;

    std::vector<std::uint32_t> units_;
    std::string replacements_;
};

}  // namespace llmcore
