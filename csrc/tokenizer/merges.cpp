#include "tokenizer/merges.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>
#include <string>

#include "base/error.h"

namespace llmcore {
namespace {

constexpr std::string_view kComponent = "merges";
// Published vocabularies imply fewer than a million; pieces that contain each other can imply one a byte.
constexpr std::size_t kMaxMerges = std::size_t{1} << 22;
constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15ULL;

// A polynomial in kBase, so that the hashes of all prefixes and of all suffixes of a piece take one pass
// each.
struct PolynomialHash {
    std::uint64_t value = 0;
    std::uint64_t weight = 1;  // kBase to the power of the length

    void append(char byte) {
        value = value * kBase + digit(byte);
        weight *= kBase;
    }
    void prepend(char byte) {
        value += digit(byte) * weight;
        weight *= kBase;
    }

private:
    static std::uint64_t digit(char byte) { return static_cast<unsigned char>(byte) + 1U; }
};

PolynomialHash hash_of(std::string_view text) {
    PolynomialHash hash;
    for (const char byte : text) hash.append(byte);
    return hash;
}

// Token ids by text, in an open-addressing table; of equal texts, the first.
class TokenIndex {
public:
    explicit TokenIndex(std::span<const std::string_view> tokens)
        : tokens_(tokens),
          slots_(std::bit_ceil(2 * tokens.size() + 1)),
          shift_(64 - std::countr_zero(slots_.size())) {
        for (std::size_t id = 0; id < tokens.size(); ++id) {
            const std::uint64_t hash = hash_of(tokens[id]).value;
            Slot& slot = find_slot(tokens[id], hash);
            if (slot.id < 0) slot = {static_cast<std::uint32_t>(hash), static_cast<std::int32_t>(id)};
        }
    }

    std::int32_t find(std::string_view text, const PolynomialHash& hash) const {
        return const_cast<TokenIndex*>(this)->find_slot(text, hash.value).id;
    }
    std::int32_t find(std::string_view text) const { return find(text, hash_of(text)); }

private:
    struct Slot {
        std::uint32_t tag = 0;
        std::int32_t id = -1;
    };

    Slot& find_slot(std::string_view text, std::uint64_t hash) {
        const std::uint64_t mixed = (hash ^ (hash >> 32)) * kBase;
        std::size_t at = mixed >> shift_;
        while (slots_[at].id >= 0) {
            const Slot& slot = slots_[at];
            if (slot.tag == static_cast<std::uint32_t>(hash) &&
                tokens_[static_cast<std::size_t>(slot.id)] == text)
                break;
            at = (at + 1) & (slots_.size() - 1);
        }
        return slots_[at];
    }

    std::span<const std::string_view> tokens_;
    std::vector<Slot> slots_;
    int shift_;
};

bool inside_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// Appends the ways to cut `piece` into two tokens, from left to right.
void append_cuts(std::string_view piece, const TokenIndex& index, std::vector<PolynomialHash>& suffixes,
                 std::vector<Merge>& cuts) {
    suffixes.assign(piece.size() + 1, {});
    for (std::size_t i = piece.size(); i-- > 0;) {
        suffixes[i] = suffixes[i + 1];
        suffixes[i].prepend(piece[i]);
    }
    PolynomialHash prefix;
    for (std::size_t cut = 1; cut < piece.size(); ++cut) {
        prefix.append(piece[cut - 1]);
        if (inside_character(piece[cut])) continue;
        const std::int32_t left = index.find(piece.substr(0, cut), prefix);
        if (left < 0) continue;
        const std::int32_t right = index.find(piece.substr(cut), suffixes[cut]);
        if (right >= 0) cuts.push_back({left, right});
    }
}

}  // namespace

std::vector<Merge> derive_spm_merges(std::span<const std::string_view> tokens, std::span<const float> scores,
                                     std::span<const TokenType> types) {
    if (types.size() != tokens.size() || (!scores.empty() && scores.size() != tokens.size())) {
        fail(ErrorCode::model, kComponent, "numbers of scores and types",
             std::to_string(scores.size()) + " and " + std::to_string(types.size()),
             std::to_string(tokens.size()) + ", as many as tokens");
    }
    std::vector<std::int32_t> pieces;
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        if (types[id] == TokenType::normal || types[id] == TokenType::user_defined) {
            pieces.push_back(static_cast<std::int32_t>(id));
        }
    }
    // NaN would break the order's rules; it ranks last.
    const auto score = [&](std::int32_t id) {
        const float value = scores.empty() ? 0.0F : scores[static_cast<std::size_t>(id)];
        return value == value ? value : -std::numeric_limits<float>::infinity();
    };
    std::stable_sort(pieces.begin(), pieces.end(),
                     [&](std::int32_t a, std::int32_t b) { return score(a) > score(b); });
    const TokenIndex index(tokens);
    std::vector<PolynomialHash> suffixes;
    std::vector<Merge> merges;
    merges.reserve(2 * pieces.size());
    for (const std::int32_t id : pieces) {
        append_cuts(tokens[static_cast<std::size_t>(id)], index, suffixes, merges);
        if (merges.size() > kMaxMerges) {
            fail(ErrorCode::model, kComponent, "number of merges that tokenizer.ggml.tokens implies",
                 "more than " + std::to_string(kMaxMerges), "at most as many");
        }
    }
    return merges;
}

std::vector<Merge> parse_bpe_merges(std::span<const std::string_view> tokens,
                                    std::span<const std::string_view> rules) {
    const TokenIndex index(tokens);
    std::vector<Merge> merges;
    merges.reserve(rules.size());
    for (const std::string_view rule : rules) {
        const std::size_t space = rule.find(' ', 1);
        if (space == std::string_view::npos) continue;
        const std::string_view left = rule.substr(0, space);
        const std::string_view right = rule.substr(space + 1);
        PolynomialHash both = hash_of(left);
        for (const char byte : right) both.append(byte);
        const Merge merge{index.find(left), index.find(right)};
        if (merge.left < 0 || merge.right < 0) continue;
        const std::string joined = std::string(left).append(right);
        if (index.find(joined, both) >= 0) merges.push_back(merge);
    }
    return merges;
}

}  // namespace llmcore
