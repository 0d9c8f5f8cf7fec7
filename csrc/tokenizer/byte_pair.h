// Byte-pair encoding of characters, as SentencePiece does it: of all pairs of neighbours that make a piece,
// the best becomes one, again and again; of equally good ones the leftmost.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/merges.h"
#include "tokenizer/piece_index.h"
#include "tokenizer/piece_output.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

// A run of characters that is a piece, or a single character that need not be one (id -1).
struct PairSymbol {
    std::string_view text;
    PolynomialHash hash;
    std::int32_t id = -1;
    std::int32_t previous = -1;
    std::int32_t next = -1;
};

// What two neighbours make.
struct MergedPair {
    float priority = 0;  // the highest goes first
    std::int32_t id = -1;
};

// Which pairs make a piece, and which go first.
class PairRule {
public:
    virtual ~PairRule() = default;
    virtual std::optional<MergedPair> merged(const PairSymbol& left, const PairSymbol& right) const = 0;
};

// Whether text can become tokens of a type; unused ones are taken apart again.
inline bool is_usable(TokenType type) {
    return type == TokenType::normal || type == TokenType::user_defined || type == TokenType::unused ||
           type == TokenType::undefined;
}

class BytePairEncoder {
    class Run;

public:
    // By falling score of what a pair makes.
    static BytePairEncoder by_score(std::shared_ptr<const PieceIndex> pieces, std::vector<TokenType> types,
                                    std::vector<float> scores);
    // By the place in a list of merges. Runs of line breaks are apart from other text.
    static BytePairEncoder by_rank(std::shared_ptr<const PieceIndex> pieces, std::vector<TokenType> types,
                                   std::span<const Merge> merges);

    // `text`: UTF-8, spaces written as U+2581.
    void encode(std::string_view text, PieceOutput& output) const;

    // Encodes words that are known to be words, one after another; they are not empty.
    class Words {
    public:
        Words(const BytePairEncoder& encoder, PieceOutput& output);
        ~Words();
        void encode(std::string_view word);

    private:
        std::unique_ptr<Run> run_;
    };

private:
    BytePairEncoder(std::shared_ptr<const PieceIndex> pieces, std::vector<TokenType> types,
                    std::unique_ptr<const PairRule> rule, bool splits_lines);

    std::size_t word_length(std::string_view text) const;
    bool is_border(std::string_view text, std::size_t at) const;

    std::shared_ptr<const PieceIndex> pieces_;
    std::vector<TokenType> types_;
    std::unique_ptr<const PairRule> rule_;
    bool splits_lines_;
    bool splits_words_;  // no piece goes on over the beginning of a word
    bool has_unused_;
};

}  // namespace llmcore
