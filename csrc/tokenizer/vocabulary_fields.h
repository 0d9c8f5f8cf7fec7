// The lists of tokenizer.ggml.*, read and checked.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/reader.h"
#include "tokenizer/piece_index.h"

namespace llmcore {

// How the vocabulary writes text: tokenizer.ggml.model, or "gemma4" or "whitespace" for a pre-tokenizer of
// that kind whatever the model's name. "" if the file has none.
std::string tokenizer_kind(const gguf::File& file);

// tokenizer.ggml.tokens; views into the file. Throws Error(model) if it is missing, empty, no list of strings
// or holds one of an unreasonable length.
std::vector<std::string_view> read_tokens(const gguf::File& file);

// tokenizer.ggml.merges; none if the file has none. Throws Error(model) if it is no list of strings.
std::vector<std::string_view> read_merges(const gguf::File& file);

// Ids by text. Throws Error(model) where a text that is not empty comes twice.
PieceIndex checked_index(std::span<const std::string_view> tokens);

}  // namespace llmcore
