// A model's vocabulary as the engine needs it: the bytes each token stands for, and which tokens are special.
// Encoding is Python's (the `tokenizers` library); nothing here splits text.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"

namespace llmcore {

// GGUF's tokenizer.ggml.token_type values.
enum class TokenType : std::uint8_t { undefined = 0, normal, unknown, control, user_defined, unused, byte };

class Vocabulary {
public:
    // From tokenizer.ggml.* of the file. Throws Error(model) when they are missing or contradict each other.
    static Vocabulary from_gguf(const gguf::File& file);
    // For tests and tools: bytes and types by token id.
    Vocabulary(std::vector<std::string> bytes, std::vector<TokenType> types,
               std::vector<std::int32_t> end_tokens, bool strips_first_space);

    std::int32_t size() const;
    // What the token adds to the text: byte-level and byte-fallback pieces decoded, U+2581 as a space; a
    // control token adds nothing. Valid as long as the vocabulary.
    std::string_view text_bytes(std::int32_t token) const;
    // The same, but a control token's own name ("<|im_end|>").
    std::string_view token_bytes(std::int32_t token) const;
    // The bytes of a whole sequence, without the first word's leading space where strips_first_space(). With
    // `with_control`, control tokens appear by their names.
    std::string decode(std::span<const std::int32_t> tokens, bool with_control = false) const;
    // The file's type; control for known end-of-turn tokens and turn markers whatever the file calls them.
    TokenType type(std::int32_t token) const;
    // Tokens that end a turn: eos, eot and eom of the file, and those whose text is a known end-of-turn
    // marker.
    bool ends_generation(std::int32_t token) const;
    std::span<const std::int32_t> end_tokens() const;
    // SPM pieces write a leading space before the first word; decoding drops it once.
    bool strips_first_space() const;

private:
    std::vector<std::string> bytes_;
    std::vector<TokenType> types_;
    std::vector<std::int32_t> end_tokens_;
    bool strips_first_space_ = false;
};

}  // namespace llmcore
