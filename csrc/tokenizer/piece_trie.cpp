#include "tokenizer/piece_trie.h"

#include <bit>

namespace llmcore {
namespace {

std::uint64_t key_of(std::int32_t node, char byte) {
    return (static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(byte)) + 1;
}

}  // namespace

PieceTrie::PieceTrie(std::size_t n_bytes)
    : edges_(std::bit_ceil(n_bytes + n_bytes / 2 + 2)),
      shift_(64 - std::countr_zero(edges_.size())),
      ids_(1, -1) {
    ids_.reserve(n_bytes + 1);
}

void PieceTrie::insert(std::string_view piece, std::int32_t id) {
    std::int32_t node = kRoot;
    for (const char byte : piece) {
        const std::uint64_t key = key_of(node, byte);
        Edge& edge = edges_[slot_of(key)];
        if (edge.key == 0) {
            edge = {key, static_cast<std::int32_t>(ids_.size())};
            ids_.push_back(-1);
        }
        node = edge.to;
    }
    std::int32_t& end = ids_[static_cast<std::size_t>(node)];
    if (end < 0) end = id;
}

std::int32_t PieceTrie::next(std::int32_t node, char byte) const {
    const std::uint64_t key = key_of(node, byte);
    const Edge& edge = edges_[slot_of(key)];
    return edge.key == key ? edge.to : -1;
}

PieceTrie::Match PieceTrie::longest(std::string_view text) const {
    Match match;
    std::int32_t node = kRoot;
    for (std::size_t i = 0; i < text.size(); ++i) {
        node = next(node, text[i]);
        if (node < 0) break;
        if (id(node) >= 0) match = {id(node), i + 1};
    }
    return match;
}

std::size_t PieceTrie::slot_of(std::uint64_t key) const {
    std::size_t at = (key * 0x9E3779B97F4A7C15ULL) >> shift_;
    while (edges_[at].key != 0 && edges_[at].key != key) at = (at + 1) & (edges_.size() - 1);
    return at;
}

}  // namespace llmcore
