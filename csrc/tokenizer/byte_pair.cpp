#include "tokenizer/byte_pair.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <unordered_map>
#include <utility>

namespace llmcore {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

bool mark_at(std::string_view text, std::size_t at) {
    return text.substr(at, kSpaceMark.size()) == kSpaceMark;
}

// Whether a space mark follows something else than a space mark.
bool begins_word(std::string_view text, std::size_t at) {
    return mark_at(text, at) && (at < kSpaceMark.size() || !mark_at(text, at - kSpaceMark.size()));
}

bool holds_word_border(std::string_view piece) {
    for (std::size_t at = piece.find(kSpaceMark[0], 1); at != std::string_view::npos;
         at = piece.find(kSpaceMark[0], at + 1)) {
        if (begins_word(piece, at)) return true;
    }
    return false;
}

class ScoreRule : public PairRule {
public:
    ScoreRule(std::shared_ptr<const PieceIndex> pieces, std::vector<float> scores, std::vector<bool> usable)
        : pieces_(std::move(pieces)), scores_(std::move(scores)), usable_(std::move(usable)) {}

    std::optional<MergedPair> merged(const PairSymbol& left, const PairSymbol& right) const override {
        const std::string_view text(left.text.data(), left.text.size() + right.text.size());
        const std::int32_t id = pieces_->find(text, left.hash.followed_by(right.hash));
        if (id < 0 || !usable_[static_cast<std::size_t>(id)]) return std::nullopt;
        return MergedPair{scores_[static_cast<std::size_t>(id)], id};
    }

private:
    std::shared_ptr<const PieceIndex> pieces_;
    std::vector<float> scores_;
    std::vector<bool> usable_;
};

class RankRule : public PairRule {
public:
    explicit RankRule(std::span<const Merge> merges)
        : slots_(std::bit_ceil(2 * merges.size() + 2)), shift_(64 - std::countr_zero(slots_.size())) {
        for (std::size_t rank = 0; rank < merges.size(); ++rank) {
            const std::uint64_t key = key_of(merges[rank].left, merges[rank].right);
            Slot& slot = slots_[slot_of(key)];
            if (slot.key == 0) slot = {key, {-static_cast<float>(rank), merges[rank].merged}};
        }
    }

    std::optional<MergedPair> merged(const PairSymbol& left, const PairSymbol& right) const override {
        if (left.id < 0 || right.id < 0) return std::nullopt;
        const Slot& slot = slots_[slot_of(key_of(left.id, right.id))];
        return slot.key == 0 ? std::nullopt : std::optional(slot.pair);
    }

private:
    struct Slot {
        std::uint64_t key = 0;
        MergedPair pair;
    };

    static std::uint64_t key_of(std::int32_t left, std::int32_t right) {
        return (static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right)) + 1;
    }
    std::size_t slot_of(std::uint64_t key) const {
        std::size_t at = (key * 0x9E3779B97F4A7C15ULL) >> shift_;
        while (slots_[at].key != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    std::vector<Slot> slots_;
    int shift_;
};

}  // namespace

// The encoding of one text, word by word; what it allocates serves all words.
class BytePairEncoder::Run {
public:
    Run(const BytePairEncoder& encoder, PieceOutput& output) : encoder_(encoder), output_(output) {}

    void encode(std::string_view word) {
        begin(word);
        for (std::size_t i = 1; i < symbols_.size(); ++i)
            propose(symbols_[i].previous, static_cast<std::int32_t>(i));
        while (!candidates_.empty()) {
            std::pop_heap(candidates_.begin(), candidates_.end());
            const Candidate best = candidates_.back();
            candidates_.pop_back();
            if (is_current(best)) merge(best);
        }
        for (std::int32_t i = 0; i >= 0; i = symbol(i).next) {
            if (is_unused(symbol(i).id)) {
                take_apart(symbol(i));
            } else {
                add(symbol(i));
            }
        }
    }

private:
    struct Candidate {
        MergedPair pair;
        std::int32_t left;
        std::int32_t right;
        std::size_t size;  // of both texts: another one if either has changed since

        bool operator<(const Candidate& other) const {
            return pair.priority != other.pair.priority ? pair.priority < other.pair.priority
                                                        : left > other.left;
        }
    };
    struct Parts {
        PairSymbol left;
        PairSymbol right;
    };

    PairSymbol& symbol(std::int32_t at) { return symbols_[static_cast<std::size_t>(at)]; }

    std::int32_t usable_id(std::string_view text, const PolynomialHash& hash) const {
        const std::int32_t id = encoder_.pieces_->find(text, hash);
        return id >= 0 && is_usable(encoder_.types_[static_cast<std::size_t>(id)]) ? id : -1;
    }

    void begin(std::string_view word) {
        symbols_.clear();
        parts_.clear();
        while (!word.empty()) {
            const std::string_view character = word.substr(0, character_length(word));
            const PolynomialHash hash = PolynomialHash::of(character);
            const auto at = static_cast<std::int32_t>(symbols_.size());
            symbols_.push_back({character, hash, usable_id(character, hash), at - 1, at + 1});
            word.remove_prefix(character.size());
        }
        symbols_.back().next = -1;
    }

    void propose(std::int32_t left, std::int32_t right) {
        if (left < 0 || right < 0) return;
        const std::optional<MergedPair> pair = encoder_.rule_->merged(symbol(left), symbol(right));
        if (!pair) return;
        candidates_.push_back({*pair, left, right, symbol(left).text.size() + symbol(right).text.size()});
        std::push_heap(candidates_.begin(), candidates_.end());
    }

    bool is_current(const Candidate& candidate) {
        const std::string_view left = symbol(candidate.left).text;
        const std::string_view right = symbol(candidate.right).text;
        return !left.empty() && !right.empty() && left.size() + right.size() == candidate.size;
    }

    void merge(const Candidate& candidate) {
        PairSymbol& left = symbol(candidate.left);
        PairSymbol& right = symbol(candidate.right);
        const std::string_view text(left.text.data(), candidate.size);
        if (encoder_.has_unused_ && is_unused(candidate.pair.id)) parts_[text] = {left, right};
        left.text = text;
        left.hash = left.hash.followed_by(right.hash);
        left.id = candidate.pair.id;
        left.next = right.next;
        right.text = {};
        if (left.next >= 0) symbol(left.next).previous = candidate.left;
        propose(left.previous, candidate.left);
        propose(candidate.left, left.next);
    }

    bool is_unused(std::int32_t id) const {
        return id >= 0 && encoder_.types_[static_cast<std::size_t>(id)] == TokenType::unused;
    }

    void add(const PairSymbol& piece) {
        if (piece.id >= 0) {
            output_.add(piece.id);
        } else {
            output_.add_unknown(piece.text);
        }
    }

    // Unused pieces serve to build others; one that is left over falls back into what made it.
    void take_apart(const PairSymbol& piece) {
        std::vector<PairSymbol> rest = {piece};
        while (!rest.empty()) {
            const PairSymbol last = rest.back();
            rest.pop_back();
            const auto parts = is_unused(last.id) ? parts_.find(last.text) : parts_.end();
            if (parts == parts_.end()) {
                add(last);
            } else {
                rest.push_back(parts->second.right);
                rest.push_back(parts->second.left);
            }
        }
    }

    const BytePairEncoder& encoder_;
    PieceOutput& output_;
    std::vector<PairSymbol> symbols_;
    std::vector<Candidate> candidates_;  // a heap
    std::unordered_map<std::string_view, Parts> parts_;
};

BytePairEncoder::BytePairEncoder(std::shared_ptr<const PieceIndex> pieces, std::vector<TokenType> types,
                                 std::unique_ptr<const PairRule> rule, bool splits_lines)
    : pieces_(std::move(pieces)),
      types_(std::move(types)),
      rule_(std::move(rule)),
      splits_lines_(splits_lines),
      splits_words_(true),
      has_unused_(false) {
    for (std::size_t id = 0; id < types_.size(); ++id) {
        has_unused_ = has_unused_ || types_[id] == TokenType::unused;
        if (is_usable(types_[id]) && holds_word_border(pieces_->piece(static_cast<std::int32_t>(id)))) {
            splits_words_ = false;
        }
    }
}

BytePairEncoder BytePairEncoder::by_score(std::shared_ptr<const PieceIndex> pieces,
                                          std::vector<TokenType> types, std::vector<float> scores) {
    std::vector<bool> usable(types.size());
    std::transform(types.begin(), types.end(), usable.begin(), is_usable);
    auto rule = std::make_unique<ScoreRule>(pieces, std::move(scores), std::move(usable));
    return BytePairEncoder(std::move(pieces), std::move(types), std::move(rule), false);
}

BytePairEncoder BytePairEncoder::by_rank(std::shared_ptr<const PieceIndex> pieces,
                                         std::vector<TokenType> types, std::span<const Merge> merges) {
    auto rule = std::make_unique<RankRule>(merges);
    return BytePairEncoder(std::move(pieces), std::move(types), std::move(rule), true);
}

void BytePairEncoder::encode(std::string_view text, PieceOutput& output) const {
    Run run(*this, output);
    while (!text.empty()) {
        const std::string_view word = text.substr(0, word_length(text));
        run.encode(word);
        text.remove_prefix(word.size());
    }
}

BytePairEncoder::Words::Words(const BytePairEncoder& encoder, PieceOutput& output)
    : run_(std::make_unique<Run>(encoder, output)) {}
BytePairEncoder::Words::~Words() = default;
void BytePairEncoder::Words::encode(std::string_view word) { run_->encode(word); }

std::size_t BytePairEncoder::word_length(std::string_view text) const {
    std::size_t length = 1;
    while (length < text.size() && !is_border(text, length)) ++length;
    return length;
}

bool BytePairEncoder::is_border(std::string_view text, std::size_t at) const {
    if (splits_lines_ && (text[at] == '\n') != (text[at - 1] == '\n')) return true;
    return splits_words_ && text[at] == kSpaceMark[0] && begins_word(text, at);
}

}  // namespace llmcore
