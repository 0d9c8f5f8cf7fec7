// The KV blocks of one engine: which are free, how many sequences hold each of the others, and what they
// contain.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/block_key.h"

namespace llmcore {

class BlockPool {
public:
    // n_blocks >= 1.
    explicit BlockPool(std::int64_t n_blocks);

    std::int64_t capacity() const { return static_cast<std::int64_t>(nodes_.size()) - 1; }
    // Those nobody holds; some still have contents that may be reused.
    std::int64_t free_blocks() const { return n_free_; }
    std::int64_t used_blocks() const { return capacity() - n_free_; }
    std::int32_t ref_count(std::int32_t block) const;

    // The free block that is least worth keeping (empty ones first, then the one released longest ago), now
    // held once and without contents. Throws Error(internal) when none is free.
    std::int32_t take();
    // One more holder of a block that is held.
    void retain(std::int32_t block);
    // One holder fewer; without any left the block is free, and its contents can be found until it is taken.
    void release(std::int32_t block);

    // Names the contents of a held block, which must not change any more. Of blocks with equal contents, only
    // the first is ever found.
    void publish(std::int32_t block, const BlockKey& key);
    // The same for what a held block begins with, under another name.
    void publish_part(std::int32_t block, const BlockKey& key);
    // The block with these contents or this beginning, held once more; nothing if there is none.
    std::optional<std::int32_t> reuse(const BlockKey& key);
    bool contains(const BlockKey& key) const { return published_.contains(key); }
    // Whether a sequence holds the block with these contents.
    bool is_live(const BlockKey& key) const;
    // Told of a block with contents, whole ones, that take() is about to give away; it may still be read
    // then.
    using Leaving = std::function<void(std::int32_t block, const BlockKey& key)>;
    void on_leaving(Leaving leaving) { leaving_ = std::move(leaving); }
    // The free blocks with whole contents, the one released last first.
    std::vector<std::pair<std::int32_t, BlockKey>> free_published() const;
    // Blocks whose whole contents can be found.
    std::int64_t published_blocks() const { return n_published_; }

private:
    // The free list is circular through the sentinel at index capacity(). Doubly linked, so that a block can
    // be claimed from its middle.
    struct Node {
        std::int32_t previous;
        std::int32_t next;
        std::int32_t refs;
        bool published;
        BlockKey key;
        std::vector<BlockKey> parts;  // names of what it begins with

        bool can_be_found() const { return published || !parts.empty(); }
    };
    Node& node(std::int32_t block) { return nodes_[static_cast<std::size_t>(block)]; }
    Node& held(std::int32_t block);
    void unlink(std::int32_t block);

    std::vector<Node> nodes_;
    std::int64_t n_free_;
    std::int64_t n_published_ = 0;
    std::unordered_map<BlockKey, std::int32_t> published_;
    Leaving leaving_;
};

}  // namespace llmcore
