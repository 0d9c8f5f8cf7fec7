// Token ids for byte-level vocabularies (tokenizer.ggml.model "gpt2"), whose words somebody else has found.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"
#include "tokenizer/byte_pair.h"
#include "tokenizer/piece_trie.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

class ByteLevelEncoder {
public:
    // From tokenizer.ggml.* of the file, whose vocabulary `vocabulary` is. `whole_words`: a word that is a
    // token becomes that, whatever the merges make of it. Throws Error(model) where the lists are missing or
    // contradict each other.
    ByteLevelEncoder(const gguf::File& file, const Vocabulary& vocabulary, bool whole_words);

    // Added to a word's last byte.
    static constexpr std::int32_t kLastOfWord = 256;
    // Ids of a text whose bytes are given one by one. No text becomes a control token; bytes that are no
    // piece are left out. Throws Error(invalid_argument) for what is no byte.
    std::vector<std::int32_t> encode(std::span<const std::int32_t> bytes) const;

    bool has_user_defined() const { return !user_defined_.empty(); }
    // A text at its user-defined tokens: what lies between them, one part more than there are tokens.
    struct Cut {
        std::vector<std::string_view> plain;
        std::vector<std::int32_t> tokens;
    };
    Cut cut(std::string_view text) const;

    // The characters that byte-level pieces write bytes with.
    const std::array<std::string, 256>& alphabet() const { return alphabet_; }

private:
    std::array<std::string, 256> alphabet_;
    std::shared_ptr<const PieceIndex> pieces_;
    std::vector<TokenType> types_;
    std::optional<BytePairEncoder> byte_pair_;
    PieceTrie user_defined_;
    bool whole_words_;
};

}  // namespace llmcore
