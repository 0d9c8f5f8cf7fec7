// Token ids by text, in an open-addressing table that is quick to build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace llmcore {

// A polynomial over the bytes: the hash of two texts in a row follows from theirs.
struct PolynomialHash {
    std::uint64_t value = 0;
    std::uint64_t weight = 1;  // the base to the power of the length

    static PolynomialHash of(std::string_view text);
    PolynomialHash followed_by(const PolynomialHash& next) const {
        return {value * next.weight + next.value, weight * next.weight};
    }
};

class PieceIndex {
public:
    // `pieces` by id; the texts are copied. Empty pieces are not found. Of equal texts the first counts.
    explicit PieceIndex(std::span<const std::string_view> pieces);

    std::size_t size() const { return starts_.size() - 1; }
    std::string_view piece(std::int32_t id) const {
        const auto at = static_cast<std::size_t>(id);
        return {texts_.data() + starts_[at], starts_[at + 1] - starts_[at]};
    }
    // The id of a text, -1 if there is none.
    std::int32_t find(std::string_view text, const PolynomialHash& hash) const;
    std::int32_t find(std::string_view text) const { return find(text, PolynomialHash::of(text)); }

    // The ids of two pieces of the same text, if there are any.
    const std::optional<std::pair<std::int32_t, std::int32_t>>& repeated() const { return repeated_; }

private:
    struct Slot {
        std::uint32_t tag = 0;
        std::int32_t id = -1;
    };

    std::size_t slot_of(std::string_view text, std::uint64_t hash) const;

    std::vector<char> texts_;
    std::vector<std::size_t> starts_;
    std::vector<Slot> slots_;
    int shift_;
    std::optional<std::pair<std::int32_t, std::int32_t>> repeated_;
};

}  // namespace llmcore
