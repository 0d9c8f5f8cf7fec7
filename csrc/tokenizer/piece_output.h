// Collects the ids of a text: pieces, and what stands for text that is no piece.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace llmcore {

// What stands for text that is no piece: its bytes, where the vocabulary has all 256, or the unknown token;
// nothing if that is -1.
struct UnknownText {
    std::array<std::int32_t, 256> bytes{};
    bool has_bytes = false;
    std::int32_t token = -1;
};

class PieceOutput {
public:
    PieceOutput(const UnknownText& unknown, std::vector<std::int32_t>& ids) : unknown_(unknown), ids_(ids) {}

    void add(std::int32_t id) {
        ids_.push_back(id);
        after_unknown_ = false;
    }
    // Unknown texts in a row are one unknown token.
    void add_unknown(std::string_view text) {
        if (unknown_.has_bytes) {
            for (const char byte : text) ids_.push_back(unknown_.bytes[static_cast<unsigned char>(byte)]);
        } else if (!after_unknown_ && unknown_.token >= 0) {
            ids_.push_back(unknown_.token);
        }
        after_unknown_ = true;
    }

private:
    const UnknownText& unknown_;
    std::vector<std::int32_t>& ids_;
    bool after_unknown_ = false;
};

// Bytes of the UTF-8 character that `text` begins with; never more than there are.
inline std::size_t character_length(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text.front());
    const std::size_t length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return length < text.size() ? length : text.size();
}

}  // namespace llmcore
