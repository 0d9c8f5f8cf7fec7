// The KV blocks of one engine: which are free, and how many sequences hold each of the others.
#pragma once

#include <cstdint>
#include <vector>

namespace llmcore {

class BlockPool {
public:
    // n_blocks >= 1.
    explicit BlockPool(std::int64_t n_blocks);

    std::int64_t capacity() const { return static_cast<std::int64_t>(nodes_.size()) - 1; }
    std::int64_t free_blocks() const { return n_free_; }
    std::int64_t used_blocks() const { return capacity() - n_free_; }
    std::int32_t ref_count(std::int32_t block) const;

    // The block that has been free longest, now held once. Throws Error(internal) when none is free.
    std::int32_t take();
    // One more holder of a block that is held.
    void retain(std::int32_t block);
    // One holder fewer; without any left the block goes to the young end of the free list.
    void release(std::int32_t block);

private:
    // The free list is circular through the sentinel at index capacity(). Doubly linked, so that a block can
    // be claimed from its middle once freed blocks keep their contents for reuse.
    struct Node {
        std::int32_t previous;
        std::int32_t next;
        std::int32_t refs;
    };
    Node& held(std::int32_t block);

    std::vector<Node> nodes_;
    std::int64_t n_free_;
};

}  // namespace llmcore
