#include "tokenizer/charsmap.h"

#include <algorithm>

#include "base/error.h"

namespace llmcore {
namespace {

constexpr std::string_view kComponent = "charsmap";
// Unicode's own decompositions stay below a hundred bytes; what a text can grow to follows from this.
constexpr std::size_t kMaxReplacement = 512;

std::uint32_t read_u32(std::span<const std::byte> bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
    return value;
}

// A unit of the trie: its label (with the highest bit for a value), where its children are, whether a word
// ends here.
std::uint32_t label(std::uint32_t unit) { return unit & (1U << 31 | 0xFFU); }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }
bool ends_word(std::uint32_t unit) { return (unit >> 8 & 1U) != 0; }
bool is_value(std::uint32_t unit) { return unit >> 31 != 0; }
std::uint32_t value(std::uint32_t unit) { return unit & ~(1U << 31); }

}  // namespace

Charsmap::Charsmap(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const std::size_t trie_bytes = bytes.size() < 4 ? 0 : read_u32(bytes, 0);
    if (bytes.size() < 4 || trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes >= bytes.size() - 4) {
        fail(ErrorCode::model, kComponent, "size of the trie in tokenizer.ggml.precompiled_charsmap",
             std::to_string(trie_bytes) + " of " + std::to_string(bytes.size()) + " bytes",
             "a multiple of 4, and replacements behind it");
    }
    units_.reserve(trie_bytes / 4);
    for (std::size_t at = 4; at < 4 + trie_bytes; at += 4) units_.push_back(read_u32(bytes, at));
    const std::span<const std::byte> rest = bytes.subspan(4 + trie_bytes);
    replacements_.reserve(rest.size());
    for (const std::byte byte : rest) replacements_.push_back(std::to_integer<char>(byte));
    if (replacements_.back() != '\0') {
        fail(ErrorCode::model, kComponent, "the last replacement has no end");
    }
    check_units();
}

void Charsmap::check_units() const {
    for (std::size_t at = 0; at < units_.size(); ++at) {
        const std::uint32_t unit = units_[at];
        if (is_value(unit)) continue;
        const std::size_t children = at ^ offset(unit);
        if ((children | 0xFFU) >= units_.size()) {
            fail(ErrorCode::model, kComponent, "the trie leads out of itself");
        }
        if (!ends_word(unit)) continue;
        const std::size_t begin = value(units_[children]);
        const std::size_t end =
            begin < replacements_.size() ? replacements_.find('\0', begin) : std::string::npos;
        if (!is_value(units_[children]) || end == std::string::npos || end - begin > kMaxReplacement) {
            fail(ErrorCode::model, kComponent, "a replacement is missing or too long");
        }
    }
}

Charsmap::Match Charsmap::longest(std::string_view text) const {
    Match match;
    if (units_.empty()) return match;
    std::size_t node = offset(units_[0]);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        node ^= byte;
        const std::uint32_t unit = units_[node];
        if (label(unit) != byte) break;
        node ^= offset(unit);
        if (ends_word(unit)) match = {i + 1, replacements_.data() + value(units_[node])};
    }
    return match;
}

}  // namespace llmcore
