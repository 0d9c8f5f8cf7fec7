#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/error.h"
#include "gguf/printable.h"
#include "tokenizer/byte_level_alphabet.h"
#include "tokenizer/vocabulary_fields.h"

namespace llmcore {
namespace {

constexpr std::string_view kComponent = "vocabulary";
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// Texts of tokens that end a turn in the models that have them, whatever type a file gives them: older
// conversions call some of them normal or user-defined.
constexpr std::array<std::string_view, 18> kEndOfTurn = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};
// Ordinary text (HTML) in vocabularies that list it as user-defined.
constexpr std::array<std::string_view, 2> kEndOfTurnIfControl = {"</s>", "<eos>"};
// GLM ends its turn by naming the next speaker.
constexpr std::array<std::string_view, 2> kGlmNextSpeaker = {"<|user|>", "<|observation|>"};
// Begins every prompt of the GLM family, and is in no other vocabulary.
constexpr std::string_view kGlmMask = "[gMASK]";
// Texts of tokens that only a chat format may write. Some files call them user-defined, and then any text
// that spells one would become it.
constexpr std::array<std::string_view, 25> kTurnMarkers = {"<|im_start|>",
                                                           "<|im_sep|>",
                                                           "<|start_header_id|>",
                                                           "<|end_header_id|>",
                                                           "<|python_tag|>",
                                                           "<start_of_turn>",
                                                           "<|system|>",
                                                           "<|user|>",
                                                           "<|assistant|>",
                                                           "<|observation|>",
                                                           "<|start|>",
                                                           "<|message|>",
                                                           "<|channel|>",
                                                           "<|constrain|>",
                                                           "<sop>",
                                                           kGlmMask,
                                                           "[INST]",
                                                           "[/INST]",
                                                           "[SYSTEM_PROMPT]",
                                                           "[/SYSTEM_PROMPT]",
                                                           "[AVAILABLE_TOOLS]",
                                                           "[/AVAILABLE_TOOLS]",
                                                           "[TOOL_CALLS]",
                                                           "[TOOL_RESULTS]",
                                                           "[/TOOL_RESULTS]"};

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

// Kinds of vocabularies (tokenizer.ggml.model) that write text as it is, but for spaces.
constexpr std::array<std::string_view, 5> kSpaceMarked = {"llama", "gemma4", "bert", "t5", "whitespace"};

enum class Alphabet { byte_level, space_mark };

// Bytes by code point, -1 where there is none.
std::array<std::int16_t, 324> byte_level_inverse() {
    std::array<std::int16_t, 324> inverse;
    inverse.fill(-1);
    const std::array<std::uint16_t, 256> points = byte_level_code_points();
    for (std::size_t byte = 0; byte < points.size(); ++byte) {
        inverse[points[byte]] = static_cast<std::int16_t>(byte);
    }
    return inverse;
}

// The bytes a byte-level piece stands for; nullopt if a character is outside the map (an added token's raw
// text).
std::optional<std::string> byte_level_bytes(std::string_view piece) {
    static const std::array<std::int16_t, 324> inverse = byte_level_inverse();
    std::string bytes;
    bytes.reserve(piece.size());
    for (std::size_t i = 0; i < piece.size();) {
        // All characters of the map are below U+0800: one or two bytes of UTF-8.
        auto code = static_cast<std::size_t>(static_cast<unsigned char>(piece[i++]));
        if (code >= 0xC0 && code < 0xE0 && i < piece.size()) {
            code = (code & 0x1F) << 6 | (static_cast<unsigned char>(piece[i++]) & 0x3F);
        } else if (code >= 0x80) {
            return std::nullopt;
        }
        if (code >= inverse.size() || inverse[code] < 0) return std::nullopt;
        bytes.push_back(static_cast<char>(inverse[code]));
    }
    return bytes;
}

std::string with_spaces(std::string_view piece) {
    std::string text;
    text.reserve(piece.size());
    for (std::size_t at = 0; at < piece.size();) {
        if (piece.substr(at, kSpaceMark.size()) == kSpaceMark) {
            text.push_back(' ');
            at += kSpaceMark.size();
        } else {
            text.push_back(piece[at++]);
        }
    }
    return text;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

// "<0xXX>" as its byte.
std::optional<char> fallback_byte(std::string_view piece) {
    if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return std::nullopt;
    const int high = hex_digit(piece[3]);
    const int low = hex_digit(piece[4]);
    if (high < 0 || low < 0) return std::nullopt;
    return static_cast<char>(high * 16 + low);
}

std::string piece_bytes(std::string_view piece, TokenType type, Alphabet alphabet) {
    if (type == TokenType::control || type == TokenType::unknown) return std::string(piece);
    if (type == TokenType::byte) {
        const std::optional<char> byte = fallback_byte(piece);
        if (!byte)
            fail(ErrorCode::model, kComponent, "a byte token's text", gguf::printable(piece), "<0xXX>");
        return std::string(1, *byte);
    }
    if (alphabet == Alphabet::space_mark) return with_spaces(piece);
    if (type != TokenType::user_defined) {
        if (std::optional<std::string> bytes = byte_level_bytes(piece)) return std::move(*bytes);
    }
    return std::string(piece);
}

std::vector<TokenType> read_types(const gguf::File& file, std::size_t n_tokens) {
    const gguf::Value* value = file.find("tokenizer.ggml.token_type");
    if (value == nullptr) return std::vector<TokenType>(n_tokens, TokenType::normal);
    const std::optional<std::vector<std::int64_t>> codes =
        value->is_array() ? value->as_ints() : std::nullopt;
    if (!codes) fail(ErrorCode::model, kComponent, "tokenizer.ggml.token_type is not a list of integers");
    if (codes->size() != n_tokens) {
        fail(ErrorCode::model, kComponent, "length of tokenizer.ggml.token_type",
             std::to_string(codes->size()), std::to_string(n_tokens) + ", as many as tokens");
    }
    std::vector<TokenType> types;
    types.reserve(n_tokens);
    for (const std::int64_t code : *codes) {
        if (code < 0 || code > static_cast<std::int64_t>(TokenType::byte)) {
            fail(ErrorCode::model, kComponent, "a value of tokenizer.ggml.token_type", std::to_string(code),
                 "0..6");
        }
        types.push_back(static_cast<TokenType>(code));
    }
    return types;
}

// The id under `key`; nullopt if there is none (or -1, which some writers put).
std::optional<std::int32_t> read_id(const gguf::File& file, std::string_view key, std::size_t n_tokens) {
    if (file.find(key) == nullptr) return std::nullopt;
    const std::int64_t id = file.get_int(key);
    if (id == -1 || id == 0xFFFFFFFF) return std::nullopt;
    if (id < 0 || id >= static_cast<std::int64_t>(n_tokens)) {
        fail(ErrorCode::model, kComponent, key, std::to_string(id),
             "a token id below " + std::to_string(n_tokens));
    }
    return static_cast<std::int32_t>(id);
}

std::vector<std::int32_t> find_end_tokens(const gguf::File& file, const std::vector<std::string_view>& tokens,
                                          const std::vector<TokenType>& types) {
    std::vector<std::int32_t> ends;
    for (const std::string_view key :
         {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
        if (const auto id = read_id(file, key, tokens.size())) ends.push_back(*id);
    }
    const bool is_glm = std::find(tokens.begin(), tokens.end(), kGlmMask) != tokens.end();
    bool has_call = false;
    std::optional<std::int32_t> end_of_message;
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        const std::string_view text = tokens[id];
        const bool control = types[id] == TokenType::control;
        if (contains(kEndOfTurn, text) || (control && contains(kEndOfTurnIfControl, text)) ||
            (is_glm && contains(kGlmNextSpeaker, text))) {
            ends.push_back(static_cast<std::int32_t>(id));
        }
        if (text == "<|call|>" || text == "<|calls|>") has_call = true;
        if (text == "<|end|>") end_of_message = static_cast<std::int32_t>(id);
    }
    // Formats with a call token end a message, not the turn, with <|end|>.
    if (has_call && end_of_message)
        ends.erase(std::remove(ends.begin(), ends.end(), *end_of_message), ends.end());
    return ends;
}

void mark_control(std::vector<TokenType>& types, std::int32_t token) {
    types[static_cast<std::size_t>(token)] = TokenType::control;
}

// Text must not be able to write what ends or structures a turn, whatever type the file gives it.
void mark_known_controls(const std::vector<std::string_view>& tokens, std::vector<TokenType>& types,
                         const std::vector<std::int32_t>& ends) {
    for (const std::int32_t end : ends) {
        if (types[static_cast<std::size_t>(end)] == TokenType::user_defined) mark_control(types, end);
    }
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        if (contains(kEndOfTurn, tokens[id]) || contains(kTurnMarkers, tokens[id]))
            types[id] = TokenType::control;
    }
}

bool hidden(TokenType type) {
    return type == TokenType::control || type == TokenType::unknown || type == TokenType::unused;
}

}  // namespace

Vocabulary Vocabulary::from_gguf(const gguf::File& file) {
    const std::string model = tokenizer_kind(file);
    Alphabet alphabet = Alphabet::space_mark;
    if (model == "gpt2") {
        alphabet = Alphabet::byte_level;
    } else if (!contains(kSpaceMarked, model)) {
        fail(ErrorCode::model, kComponent, "tokenizer.ggml.model",
             model.empty() ? "nothing" : gguf::printable(model),
             "gpt2, llama, gemma4, bert, t5 or whitespace");
    }
    const std::vector<std::string_view> tokens = read_tokens(file);
    std::vector<TokenType> types = read_types(file, tokens.size());
    std::vector<std::int32_t> ends = find_end_tokens(file, tokens, types);
    if (file.find("tokenizer.ggml.token_type") == nullptr) {
        if (const auto bos = read_id(file, "tokenizer.ggml.bos_token_id", tokens.size()))
            mark_control(types, *bos);
        for (const std::int32_t end : ends) mark_control(types, end);
    }
    mark_known_controls(tokens, types, ends);
    std::vector<std::string> bytes;
    bytes.reserve(tokens.size());
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        bytes.push_back(piece_bytes(tokens[id], types[id], alphabet));
    }
    const bool strips =
        model == "bert" || ((model == "llama" || model == "t5") &&
                            file.get_bool("tokenizer.ggml.add_space_prefix", model == "llama"));
    return Vocabulary(std::move(bytes), std::move(types), std::move(ends), strips);
}

Vocabulary::Vocabulary(std::vector<std::string> bytes, std::vector<TokenType> types,
                       std::vector<std::int32_t> end_tokens, bool strips_first_space)
    : bytes_(std::move(bytes)),
      types_(std::move(types)),
      end_tokens_(std::move(end_tokens)),
      strips_first_space_(strips_first_space) {
    if (bytes_.size() != types_.size()) {
        fail(ErrorCode::invalid_argument, kComponent, "number of token types", std::to_string(types_.size()),
             std::to_string(bytes_.size()));
    }
    std::sort(end_tokens_.begin(), end_tokens_.end());
    end_tokens_.erase(std::unique(end_tokens_.begin(), end_tokens_.end()), end_tokens_.end());
    if (!end_tokens_.empty() && (end_tokens_.front() < 0 || end_tokens_.back() >= size())) {
        fail(ErrorCode::invalid_argument, kComponent, "an end token is outside the vocabulary");
    }
}

std::int32_t Vocabulary::size() const { return static_cast<std::int32_t>(bytes_.size()); }

std::string_view Vocabulary::text_bytes(std::int32_t token) const {
    return hidden(type(token)) ? std::string_view()
                               : std::string_view(bytes_[static_cast<std::size_t>(token)]);
}

std::string_view Vocabulary::token_bytes(std::int32_t token) const {
    type(token);  // checks the id
    return bytes_[static_cast<std::size_t>(token)];
}

TokenType Vocabulary::type(std::int32_t token) const {
    if (token < 0 || token >= size()) {
        fail(ErrorCode::invalid_argument, kComponent, "token id", std::to_string(token),
             "0.." + std::to_string(size() - 1));
    }
    return types_[static_cast<std::size_t>(token)];
}

std::string Vocabulary::decode(std::span<const std::int32_t> tokens, bool with_control) const {
    std::string bytes;
    bool at_start = strips_first_space_;
    for (const std::int32_t token : tokens) {
        std::string_view piece = with_control ? token_bytes(token) : text_bytes(token);
        if (at_start && !hidden(type(token)) && !piece.empty()) {
            at_start = false;
            if (piece.front() == ' ') piece.remove_prefix(1);
        }
        bytes.append(piece);
    }
    return bytes;
}

bool Vocabulary::ends_generation(std::int32_t token) const {
    return std::binary_search(end_tokens_.begin(), end_tokens_.end(), token);
}

std::span<const std::int32_t> Vocabulary::end_tokens() const { return end_tokens_; }

bool Vocabulary::strips_first_space() const { return strips_first_space_; }

}  // namespace llmcore
