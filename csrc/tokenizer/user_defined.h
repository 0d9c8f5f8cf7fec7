// User-defined tokens: found in a text before anything else, of several at one place the longest.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tokenizer/piece_trie.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

// The types of a file's tokens as its vocabulary sees them.
std::vector<TokenType> types_of(const Vocabulary& vocabulary);

// Throws Error(model) for one so long that looking for it would be slow.
PieceTrie user_defined_trie(std::span<const std::string_view> tokens, std::span<const TokenType> types);
// The same check, for pieces of other types that are looked for at every place of a text.
void check_searched_length(std::string_view token, std::size_t id);

// Calls `on_plain` with what lies between pieces (once more than there are pieces, perhaps with nothing) and
// `on_piece` with the ids of the pieces, in order.
template <class OnPlain, class OnPiece>
void split_at_pieces(const PieceTrie& pieces, std::string_view text, OnPlain&& on_plain, OnPiece&& on_piece) {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size() && !pieces.empty();) {
        const PieceTrie::Match match = pieces.longest(text.substr(at));
        if (match.length == 0) {
            ++at;
            continue;
        }
        on_plain(text.substr(done, at - done));
        on_piece(match.id);
        at += match.length;
        done = at;
    }
    on_plain(text.substr(done));
}

}  // namespace llmcore
