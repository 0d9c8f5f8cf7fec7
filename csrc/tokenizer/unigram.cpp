#include "tokenizer/unigram.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace llmcore {
namespace {

constexpr float kUnknownPenalty = 10.0F;

PieceTrie make_trie(std::span<const std::string_view> pieces, std::span<const TokenType> types) {
    const auto counts = [&](std::size_t id) {
        return (types[id] == TokenType::normal || types[id] == TokenType::user_defined) &&
               !pieces[id].empty();
    };
    std::size_t n_bytes = 0;
    for (std::size_t id = 0; id < pieces.size(); ++id) {
        if (counts(id)) n_bytes += pieces[id].size();
    }
    PieceTrie trie(n_bytes);
    for (std::size_t id = 0; id < pieces.size(); ++id) {
        if (counts(id)) trie.insert(pieces[id], static_cast<std::int32_t>(id));
    }
    return trie;
}

}  // namespace

// The best way to a place in the text: its last piece (-1: an unknown character) and where that begins.
struct UnigramEncoder::Step {
    static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    float score = 0;
    std::int32_t id = -1;
    std::size_t begin = kNone;

    // Of equally good ways the first stays; sums are rounded as SentencePiece rounds them.
    void offer(float new_score, std::int32_t new_id, std::size_t new_begin) {
        if (begin == kNone || new_score > score) *this = {new_score, new_id, new_begin};
    }
};

UnigramEncoder::UnigramEncoder(std::span<const std::string_view> pieces, std::span<const TokenType> types,
                               std::span<const float> scores)
    : trie_(make_trie(pieces, types)), scores_(scores.begin(), scores.end()), user_defined_(pieces.size()) {
    float lowest = std::numeric_limits<float>::max();
    float highest = std::numeric_limits<float>::lowest();
    for (std::size_t id = 0; id < pieces.size(); ++id) {
        user_defined_[id] = types[id] == TokenType::user_defined;
        if (types[id] != TokenType::normal) continue;
        lowest = std::min(lowest, scores[id]);
        highest = std::max(highest, scores[id]);
    }
    if (lowest <= highest) {
        max_score_ = highest;
        unknown_score_ = lowest;
    }
    unknown_score_ -= kUnknownPenalty;
}

void UnigramEncoder::encode(std::string_view text, PieceOutput& output) const {
    std::vector<Step> best(text.size() + 1);
    for (std::size_t begin = 0; begin < text.size();) {
        extend(text, begin, best);
        begin += character_length(text.substr(begin));
    }
    std::vector<std::size_t> ends;
    for (std::size_t end = text.size(); end > 0; end = best[end].begin) ends.push_back(end);
    for (auto end = ends.rbegin(); end != ends.rend(); ++end) {
        const Step& step = best[*end];
        if (step.id >= 0) {
            output.add(step.id);
        } else {
            output.add_unknown(text.substr(step.begin, *end - step.begin));
        }
    }
}

// Offers every piece that begins here, and the unknown character where no piece is just that character.
void UnigramEncoder::extend(std::string_view text, std::size_t begin, std::vector<Step>& best) const {
    const std::size_t character = character_length(text.substr(begin));
    const float so_far = best[begin].score;
    bool has_character = false;
    std::int32_t node = PieceTrie::kRoot;
    for (std::size_t end = begin; end < text.size();) {
        node = trie_.next(node, text[end++]);
        if (node < 0) break;
        const std::int32_t id = trie_.id(node);
        if (id < 0) continue;
        // User-defined pieces have no score of their own; this one wins over almost any other cut.
        const float score = user_defined_[static_cast<std::size_t>(id)]
                                ? static_cast<float>(end - begin) * max_score_ - 0.1F
                                : scores_[static_cast<std::size_t>(id)];
        best[end].offer(so_far + score, id, begin);
        has_character = has_character || end - begin == character;
    }
    if (!has_character) {
        best[begin + character].offer(so_far + unknown_score_, -1, begin);
    }
}

}  // namespace llmcore
