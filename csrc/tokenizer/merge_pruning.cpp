#include "tokenizer/merge_pruning.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "tokenizer/piece_output.h"
#include "tokenizer/piece_trie.h"

namespace llmcore {
namespace {

// Bounds for pieces whose text is merged to find out; published vocabularies have some dozen short ones.
constexpr std::size_t kMaxDoubtful = 1 << 12;
constexpr std::size_t kMaxDoubtfulBytes = 256;

// Ranks, that is places in the list, by pair; of equal pairs the first counts.
class RankTable {
public:
    explicit RankTable(std::span<const Merge> merges)
        : slots_(std::bit_ceil(2 * merges.size() + 2)), shift_(64 - std::countr_zero(slots_.size())) {
        for (std::size_t rank = 0; rank < merges.size(); ++rank) {
            Slot& slot = slots_[slot_of(merges[rank].left, merges[rank].right)];
            if (slot.rank < 0) {
                slot = {merges[rank].left, merges[rank].right, static_cast<std::int32_t>(rank)};
            }
        }
    }

    // -1 if no rule merges the pair.
    std::int32_t rank(std::int32_t left, std::int32_t right) const {
        return slots_[slot_of(left, right)].rank;
    }

private:
    struct Slot {
        std::int32_t left = -1;
        std::int32_t right = -1;
        std::int32_t rank = -1;
    };

    std::size_t slot_of(std::int32_t left, std::int32_t right) const {
        const std::uint64_t key = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
        std::size_t at = (key * 0x9E3779B97F4A7C15ULL) >> shift_;
        while (slots_[at].rank >= 0 && (slots_[at].left != left || slots_[at].right != right)) {
            at = (at + 1) & (slots_.size() - 1);
        }
        return at;
    }

    std::vector<Slot> slots_;
    int shift_;
};

// How pieces are made, found rule by rule.
class Derivations {
public:
    Derivations(std::span<const Merge> merges, const PieceIndex& pieces)
        : merges_(merges), pieces_(pieces), table_(merges), ways_(pieces.size()), used_(merges.size()) {
        for (std::size_t id = 0; id < ways_.size(); ++id) {
            const std::string_view piece = pieces.piece(static_cast<std::int32_t>(id));
            ways_[id].known = !piece.empty() && character_length(piece) == piece.size();
        }
        for (std::size_t i = 0; i < merges.size(); ++i) consider(static_cast<std::int32_t>(i));
    }

    // By rank. nullopt where it would take long to tell.
    std::optional<std::vector<bool>> used() {
        const std::optional<std::vector<std::int32_t>> exceptions = made_early();
        if (!exceptions) return std::nullopt;
        if (!exceptions->empty()) keep_all_around(*exceptions);
        return std::move(used_);
    }

    bool is_repeated(std::size_t rank) const {
        return table_.rank(merges_[rank].left, merges_[rank].right) != static_cast<std::int32_t>(rank);
    }

private:
    // A character is there from the beginning (rank -1).
    struct Way {
        bool known = false;
        std::int32_t rank = -1;
        std::int32_t left = -1;
        std::int32_t right = -1;
    };

    const Way& way(std::int32_t piece) const { return ways_[static_cast<std::size_t>(piece)]; }
    bool has_parts(const Merge& merge) const { return way(merge.left).known && way(merge.right).known; }

    void consider(std::int32_t rank) {
        const Merge& merge = merges_[static_cast<std::size_t>(rank)];
        if (way(merge.merged).known) return;
        if (!has_parts(merge)) {
            early_.push_back(merge);
        } else if (!is_crossed(merge)) {
            if (table_.rank(merge.left, merge.right) != rank) {
                early_.push_back(merge);  // the pair's first rule came before its parts
                return;
            }
            ways_[static_cast<std::size_t>(merge.merged)] = {true, rank, merge.left, merge.right};
            used_[static_cast<std::size_t>(rank)] = true;
        }
    }

    // Whether, before both parts are made, a rule merges over the border between them. Goes back in time:
    // undoes whichever part came last (of the same rule's, the right one) and looks at the neighbours that
    // leaves at the border. Of one rule's overlapping pairs the left one is merged first.
    bool is_crossed(const Merge& merge) const {
        std::int32_t left = merge.left;
        std::int32_t right = merge.right;
        while (way(left).rank >= 0 || way(right).rank >= 0) {
            const bool undoes_left = way(left).rank > way(right).rank;
            const std::int32_t until = undoes_left ? way(left).rank : way(right).rank;
            if (undoes_left) {
                left = way(left).right;
            } else {
                right = way(right).left;
            }
            const std::int32_t rank = table_.rank(left, right);
            if (rank >= 0 && (rank < until || (rank == until && !undoes_left))) return true;
        }
        return false;
    }

    // Pieces that a rule makes which comes before those for its parts.
    std::optional<std::vector<std::int32_t>> made_early() const {
        std::vector<std::int32_t> doubtful;
        for (const Merge& merge : early_) {
            if (has_parts(merge) && !way(merge.merged).known) doubtful.push_back(merge.merged);
        }
        std::sort(doubtful.begin(), doubtful.end());
        doubtful.erase(std::unique(doubtful.begin(), doubtful.end()), doubtful.end());
        if (doubtful.size() > kMaxDoubtful) return std::nullopt;
        std::vector<std::int32_t> made;
        for (const std::int32_t piece : doubtful) {
            if (pieces_.piece(piece).size() > kMaxDoubtfulBytes) return std::nullopt;
            if (is_made(piece)) made.push_back(piece);
        }
        return made;
    }

    // Merges the piece's own text.
    bool is_made(std::int32_t piece) const {
        std::vector<std::int32_t> parts;
        for (std::string_view text = pieces_.piece(piece); !text.empty();) {
            const std::string_view character = text.substr(0, character_length(text));
            parts.push_back(pieces_.find(character));
            text.remove_prefix(character.size());
        }
        for (;;) {
            std::size_t at = 0;
            std::int32_t best = -1;
            for (std::size_t i = 1; i < parts.size(); ++i) {
                const std::int32_t rank = table_.rank(parts[i - 1], parts[i]);
                if (rank >= 0 && (best < 0 || rank < best)) {
                    best = rank;
                    at = i;
                }
            }
            if (best < 0) return parts.size() == 1;
            parts[at - 1] = merges_[static_cast<std::size_t>(best)].merged;
            parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at));
        }
    }

    // What holds such a piece may be made otherwise than was found.
    void keep_all_around(std::span<const std::int32_t> exceptions) {
        PieceTrie trie(exceptions.size() * kMaxDoubtfulBytes);
        for (const std::int32_t piece : exceptions) trie.insert(pieces_.piece(piece), piece);
        const auto holds_one = [&](std::string_view text) {
            for (; !text.empty(); text.remove_prefix(1)) {
                if (trie.longest(text).length > 0) return true;
            }
            return false;
        };
        std::int32_t last = -1;
        bool last_holds = false;
        for (std::size_t rank = 0; rank < merges_.size(); ++rank) {
            if (merges_[rank].merged != last) {
                last = merges_[rank].merged;
                last_holds = holds_one(pieces_.piece(last));
            }
            if (last_holds) used_[rank] = true;
        }
    }

    std::span<const Merge> merges_;
    const PieceIndex& pieces_;
    RankTable table_;
    std::vector<Way> ways_;
    std::vector<Merge> early_;
    std::vector<bool> used_;
};

bool makes_a_piece_twice(std::span<const Merge> merges, std::size_t n_pieces) {
    std::vector<bool> made(n_pieces);
    for (const Merge& merge : merges) {
        if (made[static_cast<std::size_t>(merge.merged)]) return true;
        made[static_cast<std::size_t>(merge.merged)] = true;
    }
    return false;
}

}  // namespace

std::vector<Merge> without_unused_merges(std::vector<Merge> merges, const PieceIndex& pieces) {
    if (!makes_a_piece_twice(merges, pieces.size())) return merges;
    Derivations derivations(merges, pieces);
    const std::optional<std::vector<bool>> used = derivations.used();
    std::vector<Merge> kept;
    kept.reserve(pieces.size());
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
        if (derivations.is_repeated(rank)) continue;  // the first of equal rules counts, for every library
        if (!used || (*used)[rank]) kept.push_back(merges[rank]);
    }
    return kept;
}

}  // namespace llmcore
