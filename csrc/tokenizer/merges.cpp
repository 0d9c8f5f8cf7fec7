#include "tokenizer/merges.h"

#include <cstddef>
#include <string>

#include "base/error.h"
#include "gguf/printable.h"
#include "tokenizer/piece_output.h"

namespace llmcore {
namespace {

// Finds what rules make. Most lists are in the order of what they make, so the last piece and the one behind
// it are looked at first.
class MergedPieces {
public:
    explicit MergedPieces(const PieceIndex& pieces) : pieces_(pieces) {}

    std::int32_t find(std::string_view left, std::string_view right, const PolynomialHash& hash) {
        for (std::int32_t next = last_; next <= last_ + 1 && next < n_pieces(); ++next) {
            const std::string_view piece = pieces_.piece(next);
            if (piece.size() == left.size() + right.size() && piece.starts_with(left) &&
                piece.ends_with(right))
                return last_ = next;
        }
        joined_.assign(left);
        joined_.append(right);
        const std::int32_t found = pieces_.find(joined_, hash);
        if (found >= 0) last_ = found;
        return found;
    }

private:
    std::int32_t n_pieces() const { return static_cast<std::int32_t>(pieces_.size()); }

    const PieceIndex& pieces_;
    std::int32_t last_ = 0;
    std::string joined_;
};

}  // namespace

std::vector<Merge> parse_merges(const PieceIndex& pieces, std::span<const std::string_view> rules) {
    std::vector<Merge> merges;
    merges.reserve(rules.size());
    MergedPieces made(pieces);
    for (const std::string_view rule : rules) {
        const std::size_t space = rule.find(' ', 1);
        if (space == std::string_view::npos) {
            fail(ErrorCode::model, "merges", "a rule in tokenizer.ggml.merges", gguf::printable(rule),
                 "two pieces with a space between them");
        }
        const std::string_view left = rule.substr(0, space);
        const std::string_view right = rule.substr(space + 1);
        const PolynomialHash left_hash = PolynomialHash::of(left);
        const PolynomialHash right_hash = PolynomialHash::of(right);
        const Merge merge{pieces.find(left, left_hash), pieces.find(right, right_hash),
                          made.find(left, right, left_hash.followed_by(right_hash))};
        if (merge.left < 0 || merge.right < 0 || merge.merged < 0) {
            fail(ErrorCode::model, "merges", "a rule in tokenizer.ggml.merges names a piece that is unknown",
                 gguf::printable(rule), "pieces of tokenizer.ggml.tokens, and so their concatenation");
        }
        merges.push_back(merge);
    }
    return merges;
}

void require_merges(const PieceIndex& pieces, std::span<const TokenType> types,
                    std::span<const Merge> merges) {
    if (!merges.empty()) return;
    for (std::size_t id = 0; id < types.size(); ++id) {
        const std::string_view piece = pieces.piece(static_cast<std::int32_t>(id));
        const bool is_text = !piece.empty() && gguf::is_utf8(piece);  // nothing makes others, rules or not
        if (types[id] != TokenType::normal || !is_text || character_length(piece) == piece.size()) continue;
        fail(ErrorCode::model, "merges", "tokenizer.ggml.merges is missing or empty",
             "the piece " + gguf::printable(piece) + " as token " + std::to_string(id),
             "rules that make it, or pieces of one character");
    }
}

}  // namespace llmcore
