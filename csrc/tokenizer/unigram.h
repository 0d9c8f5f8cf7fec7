// SentencePiece's unigram model: the cut of a text whose pieces score best in sum.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/piece_output.h"
#include "tokenizer/piece_trie.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

class UnigramEncoder {
public:
    // By id. Normal and user-defined pieces count.
    UnigramEncoder(std::span<const std::string_view> pieces, std::span<const TokenType> types,
                   std::span<const float> scores);

    // `text`: UTF-8, spaces written as U+2581.
    void encode(std::string_view text, PieceOutput& output) const;

private:
    struct Step;
    void extend(std::string_view text, std::size_t begin, std::vector<Step>& best) const;

    PieceTrie trie_;
    std::vector<float> scores_;
    std::vector<bool> user_defined_;
    float max_score_ = 0;      // of the normal pieces
    float unknown_score_ = 0;  // of a character that is no piece
};

}  // namespace llmcore
