#include "tokenizer/user_defined.h"

#include <cstddef>
#include <string>

#include "base/error.h"

namespace llmcore {
namespace {

// Looking for pieces costs as much for each place of a text as the longest of them; published ones are far
// below.
constexpr std::size_t kMaxSearchedBytes = 1024;

}  // namespace

std::vector<TokenType> types_of(const Vocabulary& vocabulary) {
    std::vector<TokenType> types;
    types.reserve(static_cast<std::size_t>(vocabulary.size()));
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) types.push_back(vocabulary.type(id));
    return types;
}

void check_searched_length(std::string_view token, std::size_t id) {
    if (token.size() > kMaxSearchedBytes) {
        fail(ErrorCode::model, "tokenizer", "length of token " + std::to_string(id),
             std::to_string(token.size()),
             "at most " + std::to_string(kMaxSearchedBytes) + " bytes for one of its kind");
    }
}

PieceTrie user_defined_trie(std::span<const std::string_view> tokens, std::span<const TokenType> types) {
    std::size_t n_bytes = 0;
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        if (types[id] != TokenType::user_defined) continue;
        check_searched_length(tokens[id], id);
        n_bytes += tokens[id].size();
    }
    PieceTrie trie(n_bytes);
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        if (types[id] == TokenType::user_defined && !tokens[id].empty()) {
            trie.insert(tokens[id], static_cast<std::int32_t>(id));
        }
    }
    return trie;
}

}  // namespace llmcore
