// Finds all pieces that a text begins with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace llmcore {

// A trie over bytes; edges lie in one open-addressing table, so that it is quick to build.
class PieceTrie {
public:
    // `n_bytes`: the sum of the lengths of what will be inserted, at most.
    explicit PieceTrie(std::size_t n_bytes = 0);

    // Of equal pieces the first counts.
    void insert(std::string_view piece, std::int32_t id);

    static constexpr std::int32_t kRoot = 0;
    // The node behind `node` along `byte`, -1 if no piece goes on so.
    std::int32_t next(std::int32_t node, char byte) const;
    // The piece that ends at a node, -1 if none does.
    std::int32_t id(std::int32_t node) const { return ids_[static_cast<std::size_t>(node)]; }
    bool empty() const { return ids_.size() == 1; }

    struct Match {
        std::int32_t id = -1;
        std::size_t length = 0;
    };
    // The longest piece that `text` begins with; length 0 if there is none.
    Match longest(std::string_view text) const;

private:
    struct Edge {
        std::uint64_t key = 0;  // node and byte, plus one
        std::int32_t to = 0;
    };

    std::size_t slot_of(std::uint64_t key) const;

    std::vector<Edge> edges_;
    int shift_;
    std::vector<std::int32_t> ids_;
};

}  // namespace llmcore
