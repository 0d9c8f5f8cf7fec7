#include "tokenizer/byte_level_encoder.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "base/error.h"
#include "tokenizer/byte_level_alphabet.h"
#include "tokenizer/merges.h"
#include "tokenizer/user_defined.h"
#include "tokenizer/vocabulary_fields.h"

namespace llmcore {
namespace {

constexpr std::string_view kComponent = "tokenizer";

// Unlike in SentencePiece's vocabularies, nothing is made of unused tokens.
std::vector<TokenType> reachable_types(const Vocabulary& vocabulary) {
    std::vector<TokenType> types = types_of(vocabulary);
    std::replace(types.begin(), types.end(), TokenType::unused, TokenType::control);
    return types;
}

}  // namespace

ByteLevelEncoder::ByteLevelEncoder(const gguf::File& file, const Vocabulary& vocabulary, bool whole_words)
    : alphabet_(byte_level_alphabet()), types_(reachable_types(vocabulary)), whole_words_(whole_words) {
    const std::vector<std::string_view> tokens = read_tokens(file);
    if (types_.size() != tokens.size()) fail(ErrorCode::internal, kComponent, "another file's vocabulary");
    pieces_ = std::make_shared<const PieceIndex>(checked_index(tokens));
    user_defined_ = user_defined_trie(tokens, types_);
    std::vector<Merge> merges = parse_merges(*pieces_, read_merges(file));
    require_merges(*pieces_, types_, merges);
    const auto reachable = [&](std::int32_t id) { return is_usable(types_[static_cast<std::size_t>(id)]); };
    std::erase_if(merges, [&](const Merge& merge) {
        return !reachable(merge.left) || !reachable(merge.right) || !reachable(merge.merged);
    });
    byte_pair_ = BytePairEncoder::by_rank(pieces_, types_, merges);
}

std::vector<std::int32_t> ByteLevelEncoder::encode(std::span<const std::int32_t> bytes) const {
    std::vector<std::int32_t> ids;
    const UnknownText left_out;
    PieceOutput output(left_out, ids);
    BytePairEncoder::Words words(*byte_pair_, output);
    std::string word;
    for (const std::int32_t byte : bytes) {
        if (byte < 0 || byte >= 2 * kLastOfWord) {
            fail(ErrorCode::invalid_argument, kComponent, "a byte of a word", std::to_string(byte), "0..511");
        }
        word.append(alphabet_[static_cast<std::size_t>(byte % kLastOfWord)]);
        if (byte < kLastOfWord) continue;
        const std::int32_t whole = whole_words_ ? pieces_->find(word) : -1;
        if (whole >= 0 && is_usable(types_[static_cast<std::size_t>(whole)])) {
            output.add(whole);
        } else {
            words.encode(word);
        }
        word.clear();
    }
    return ids;
}

ByteLevelEncoder::Cut ByteLevelEncoder::cut(std::string_view text) const {
    Cut cut;
    split_at_pieces(
        user_defined_, text, [&](std::string_view plain) { cut.plain.push_back(plain); },
        [&](std::int32_t token) { cut.tokens.push_back(token); });
    return cut;
}

}  // namespace llmcore
