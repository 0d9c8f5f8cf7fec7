#include "tokenizer/piece_index.h"

#include <bit>

namespace llmcore {
namespace {

constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15ULL;

std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash); }

}  // namespace

PolynomialHash PolynomialHash::of(std::string_view text) {
    PolynomialHash hash;
    for (const char byte : text) {
        hash.value = hash.value * kBase + static_cast<unsigned char>(byte) + 1U;
        hash.weight *= kBase;
    }
    return hash;
}

PieceIndex::PieceIndex(std::span<const std::string_view> pieces)
    : slots_(std::bit_ceil(2 * pieces.size() + 2)), shift_(64 - std::countr_zero(slots_.size())) {
    std::size_t n_bytes = 0;
    for (const std::string_view piece : pieces) n_bytes += piece.size();
    texts_.reserve(n_bytes);
    starts_.reserve(pieces.size() + 1);
    starts_.push_back(0);
    for (const std::string_view piece : pieces) {
        texts_.insert(texts_.end(), piece.begin(), piece.end());
        starts_.push_back(texts_.size());
    }
    for (std::size_t id = 0; id < pieces.size(); ++id) {
        if (pieces[id].empty()) continue;
        const std::uint64_t hash = PolynomialHash::of(pieces[id]).value;
        Slot& slot = slots_[slot_of(pieces[id], hash)];
        if (slot.id < 0) {
            slot = {tag_of(hash), static_cast<std::int32_t>(id)};
        } else if (!repeated_) {
            repeated_ = {slot.id, static_cast<std::int32_t>(id)};
        }
    }
}

std::int32_t PieceIndex::find(std::string_view text, const PolynomialHash& hash) const {
    return slots_[slot_of(text, hash.value)].id;
}

std::size_t PieceIndex::slot_of(std::string_view text, std::uint64_t hash) const {
    const std::uint64_t mixed = (hash ^ (hash >> 32)) * kBase;
    std::size_t at = mixed >> shift_;
    while (slots_[at].id >= 0) {
        if (slots_[at].tag == tag_of(hash) && piece(slots_[at].id) == text) break;
        at = (at + 1) & (slots_.size() - 1);
    }
    return at;
}

}  // namespace llmcore
