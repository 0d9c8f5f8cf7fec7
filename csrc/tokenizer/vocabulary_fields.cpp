#include "tokenizer/vocabulary_fields.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "gguf/printable.h"

namespace llmcore {
namespace {

constexpr std::string_view kComponent = "vocabulary";
// Published tokens stay below a kilobyte. Work and memory for merges and control tokens grow with the
// longest.
constexpr std::size_t kMaxTokenBytes = std::size_t{1} << 14;
// Published lists stay below a million; ranks are exact as floats up to here.
constexpr std::size_t kMaxMerges = std::size_t{1} << 22;

std::optional<std::vector<std::string_view>> as_strings(const gguf::Value& value) {
    return value.is_array() ? value.as_strings() : std::nullopt;
}

// Pre-tokenizers of vocabularies that write text as it is, but for spaces, though their model is "gpt2".
constexpr std::array<std::string_view, 3> kPlainText = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"};

}  // namespace

std::string tokenizer_kind(const gguf::File& file) {
    const std::string model = file.get_string("tokenizer.ggml.model", "");
    const std::string pre = file.get_string("tokenizer.ggml.pre", "");
    const bool plain = std::find(kPlainText.begin(), kPlainText.end(), pre) != kPlainText.end();
    if (model != "gpt2") return model;
    return plain ? "gemma4" : pre == "whitespace" ? "whitespace" : model;
}

std::vector<std::string_view> read_tokens(const gguf::File& file) {
    const gguf::Value* value = file.find("tokenizer.ggml.tokens");
    if (value == nullptr) fail(ErrorCode::model, kComponent, "tokenizer.ggml.tokens is missing");
    std::optional<std::vector<std::string_view>> tokens = as_strings(*value);
    if (!tokens || tokens->empty()) {
        fail(ErrorCode::model, kComponent, "tokenizer.ggml.tokens is not a list of strings, or empty");
    }
    for (const std::string_view token : *tokens) {
        if (token.size() > kMaxTokenBytes) {
            fail(ErrorCode::model, kComponent, "length of a text in tokenizer.ggml.tokens",
                 std::to_string(token.size()), "at most " + std::to_string(kMaxTokenBytes) + " bytes");
        }
    }
    return std::move(*tokens);
}

std::vector<std::string_view> read_merges(const gguf::File& file) {
    const gguf::Value* value = file.find("tokenizer.ggml.merges");
    if (value == nullptr) return {};
    std::optional<std::vector<std::string_view>> rules = as_strings(*value);
    if (!rules) fail(ErrorCode::model, kComponent, "tokenizer.ggml.merges is not a list of strings");
    if (rules->size() > kMaxMerges) {
        fail(ErrorCode::model, kComponent, "length of tokenizer.ggml.merges", std::to_string(rules->size()),
             "at most " + std::to_string(kMaxMerges));
    }
    return std::move(*rules);
}

PieceIndex checked_index(std::span<const std::string_view> tokens) {
    PieceIndex index(tokens);
    if (const auto& repeated = index.repeated()) {
        fail(ErrorCode::model, kComponent, "a text comes twice in tokenizer.ggml.tokens",
             gguf::printable(index.piece(repeated->first)) + " as tokens " + std::to_string(repeated->first) +
                 " and " + std::to_string(repeated->second),
             "texts that differ");
    }
    return index;
}

}  // namespace llmcore
