#include "tokenizer/piece_encoder.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <utility>

#include "base/error.h"
#include "gguf/printable.h"
#include "tokenizer/merges.h"
#include "tokenizer/user_defined.h"
#include "tokenizer/vocabulary_fields.h"

namespace llmcore {
namespace {

constexpr std::string_view kComponent = "tokenizer";
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

std::vector<float> read_scores(const gguf::File& file, std::size_t n_tokens) {
    const gguf::Value* value = file.find("tokenizer.ggml.scores");
    if (value == nullptr) return std::vector<float>(n_tokens, 0.0F);
    std::optional<std::vector<float>> scores = value->is_array() ? value->as_floats() : std::nullopt;
    if (!scores) fail(ErrorCode::model, kComponent, "tokenizer.ggml.scores is not a list of numbers");
    if (scores->size() != n_tokens) {
        fail(ErrorCode::model, kComponent, "length of tokenizer.ggml.scores", std::to_string(scores->size()),
             std::to_string(n_tokens) + ", as many as tokens");
    }
    for (const float score : *scores) {
        if (std::isnan(score)) fail(ErrorCode::model, kComponent, "tokenizer.ggml.scores holds NaN");
    }
    return std::move(*scores);
}

Charsmap read_charsmap(const gguf::File& file) {
    const gguf::Value* value = file.find("tokenizer.ggml.precompiled_charsmap");
    if (value == nullptr) return {};
    if (!value->is_array() ||
        (value->type() != gguf::ValueType::u8 && value->type() != gguf::ValueType::i8)) {
        fail(ErrorCode::model, kComponent, "tokenizer.ggml.precompiled_charsmap is not a list of bytes");
    }
    return Charsmap(value->bytes());
}

UnknownText read_unknown(const gguf::File& file, const Vocabulary& vocabulary,
                         std::span<const TokenType> types, std::int64_t default_token) {
    UnknownText unknown;
    std::array<bool, 256> seen{};
    std::size_t n_bytes = 0;
    for (std::size_t id = 0; id < types.size(); ++id) {
        if (types[id] != TokenType::byte) continue;
        const auto token = static_cast<std::int32_t>(id);
        const auto byte = static_cast<unsigned char>(vocabulary.token_bytes(token).front());
        if (!std::exchange(seen[byte], true)) ++n_bytes;
        unknown.bytes[byte] = token;
    }
    unknown.has_bytes = n_bytes == seen.size();
    const std::int64_t token = file.get_int("tokenizer.ggml.unknown_token_id", default_token);
    const bool is_token = token >= 0 && token < static_cast<std::int64_t>(types.size());
    if (is_token) unknown.token = static_cast<std::int32_t>(token);
    if (!is_token && !unknown.has_bytes) {
        fail(ErrorCode::model, kComponent, "the vocabulary has no unknown token, and not all 256 bytes");
    }
    return unknown;
}

// Appends `text` with U+2581 for its spaces.
void append_marked(std::string& result, std::string_view text) {
    for (const char byte : text) {
        if (byte == ' ') {
            result.append(kSpaceMark);
        } else {
            result.push_back(byte);
        }
    }
}

// User-defined pieces are files' raw text, the others have their spaces marked.
UnigramEncoder make_unigram(std::vector<std::string_view> tokens, std::span<const TokenType> types,
                            std::span<const float> scores) {
    std::deque<std::string> marked;
    for (std::size_t id = 0; id < tokens.size(); ++id) {
        if (types[id] != TokenType::user_defined || tokens[id].find(' ') == std::string_view::npos) continue;
        append_marked(marked.emplace_back(), tokens[id]);
        tokens[id] = marked.back();
    }
    return UnigramEncoder(tokens, types, scores);
}

}  // namespace

PieceEncoder::PieceEncoder(const gguf::File& file, const Vocabulary& vocabulary) {
    const std::string model = tokenizer_kind(file);
    const bool is_unigram = model == "t5";
    const bool has_merges = model == "gemma4";
    if (model != "llama" && !is_unigram && !has_merges) {
        fail(ErrorCode::model, kComponent, "tokenizer.ggml.model", gguf::printable(model),
             "llama, gemma4 or t5");
    }
    const std::vector<std::string_view> tokens = read_tokens(file);
    std::vector<TokenType> types = types_of(vocabulary);
    if (types.size() != tokens.size()) fail(ErrorCode::internal, kComponent, "another file's vocabulary");
    for (std::size_t id = 0; id < tokens.size() && is_unigram; ++id) {
        if (types[id] == TokenType::normal) check_searched_length(tokens[id], id);
    }
    const auto pieces = std::make_shared<const PieceIndex>(checked_index(tokens));
    unknown_ = read_unknown(file, vocabulary, types, is_unigram ? 2 : has_merges ? -1 : 0);
    user_defined_ = user_defined_trie(tokens, types);
    adds_space_ = file.get_bool("tokenizer.ggml.add_space_prefix", model == "llama");
    removes_extra_spaces_ = file.get_bool("tokenizer.ggml.remove_extra_whitespaces", false);
    if (has_merges) {
        const std::vector<Merge> merges = parse_merges(*pieces, read_merges(file));
        require_merges(*pieces, types, merges);
        byte_pair_ = BytePairEncoder::by_rank(pieces, std::move(types), merges);
        return;
    }
    charsmap_ = read_charsmap(file);
    std::vector<float> scores = read_scores(file, tokens.size());
    if (is_unigram) {
        unigram_ = make_unigram(tokens, types, scores);
    } else {
        byte_pair_ = BytePairEncoder::by_score(pieces, std::move(types), std::move(scores));
    }
}

std::vector<std::int32_t> PieceEncoder::encode(std::string_view text, bool continues) const {
    const bool adds_space = adds_space_ && !continues;
    std::vector<std::int32_t> ids;
    PieceOutput output(unknown_, ids);
    if (unigram_) {
        // The model itself knows user-defined pieces; they count like others, with a score hard to beat.
        encode_plain(text, adds_space, output);
        return ids;
    }
    split_at_pieces(
        user_defined_, text, [&](std::string_view plain) { encode_plain(plain, adds_space, output); },
        [&](std::int32_t token) { output.add(token); });
    return ids;
}

void PieceEncoder::encode_plain(std::string_view text, bool adds_space, PieceOutput& output) const {
    const std::string marked = normalized(text, adds_space);
    if (marked.empty()) return;
    if (unigram_) {
        unigram_->encode(marked, output);
    } else {
        byte_pair_->encode(marked, output);
    }
}

// SentencePiece's normalizer: the character map, spaces at the ends and in a row removed if the model wants
// that, a space in front if it wants that, and U+2581 for every space.
std::string PieceEncoder::normalized(std::string_view text, bool adds_space) const {
    std::string result;
    result.reserve(text.size() + text.size() / 2 + kSpaceMark.size());
    bool after_space = removes_extra_spaces_;
    bool is_first = true;
    while (!text.empty()) {
        std::size_t length = unigram_ ? user_defined_.longest(text).length : 0;
        std::string_view written = text.substr(0, length);
        if (length == 0) {
            const Charsmap::Match match = charsmap_.longest(text);
            length = match.length > 0 ? match.length : character_length(text);
            written = match.length > 0 ? match.replacement : text.substr(0, length);
        }
        text.remove_prefix(length);
        if (is_first && removes_extra_spaces_ && written == " ") continue;
        if (is_first && adds_space) result.append(kSpaceMark);
        is_first = false;
        while (after_space && written.substr(0, 1) == " ") written.remove_prefix(1);
        if (written.empty()) continue;
        append_marked(result, written);
        after_space = removes_extra_spaces_ && written.back() == ' ';
    }
    while (removes_extra_spaces_ && result.ends_with(kSpaceMark)) {
        result.resize(result.size() - kSpaceMark.size());
    }
    return result;
}

}  // namespace llmcore
