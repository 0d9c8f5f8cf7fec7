#include "cache/block_pool.h"

#include <limits>
#include <string>

#include "base/error.h"

namespace llmcore {

BlockPool::BlockPool(std::int64_t n_blocks) : n_free_(n_blocks) {
    if (n_blocks < 1 || n_blocks >= std::numeric_limits<std::int32_t>::max()) {
        fail(ErrorCode::invalid_argument, "cache", "number of KV blocks out of range",
             std::to_string(n_blocks), "1 to 2147483646");
    }
    const auto n = static_cast<std::int32_t>(n_blocks);
    nodes_.resize(static_cast<std::size_t>(n) + 1);
    for (std::int32_t i = 0; i <= n; ++i)
        node(i) = {i == 0 ? n : i - 1, i == n ? 0 : i + 1, 0, false, {}, {}};
}

std::int32_t BlockPool::ref_count(std::int32_t block) const {
    if (block < 0 || block >= capacity()) fail(ErrorCode::internal, "cache", "no such KV block");
    return nodes_[static_cast<std::size_t>(block)].refs;
}

BlockPool::Node& BlockPool::held(std::int32_t block) {
    if (ref_count(block) == 0) fail(ErrorCode::internal, "cache", "KV block is free but treated as held");
    return node(block);
}

void BlockPool::unlink(std::int32_t block) {
    const Node& gone = node(block);
    node(gone.previous).next = gone.next;
    node(gone.next).previous = gone.previous;
    --n_free_;
}

std::int32_t BlockPool::take() {
    if (n_free_ == 0) fail(ErrorCode::internal, "cache", "no free KV block");
    const std::int32_t block = nodes_.back().next;
    Node& taken = node(block);
    if (taken.published && leaving_) leaving_(block, taken.key);  // it may throw: nothing is changed yet
    unlink(block);
    if (taken.published) {
        published_.erase(taken.key);
        --n_published_;
    }
    for (const BlockKey& key : taken.parts) published_.erase(key);
    taken.parts.clear();
    taken.published = false;
    taken.refs = 1;
    return block;
}

void BlockPool::retain(std::int32_t block) { ++held(block).refs; }

void BlockPool::release(std::int32_t block) {
    Node& released = held(block);
    if (--released.refs > 0) return;
    // What can be found again goes to the young end of the list, what cannot to the old one.
    const auto sentinel = static_cast<std::int32_t>(capacity());
    released.previous = released.can_be_found() ? nodes_.back().previous : sentinel;
    released.next = released.can_be_found() ? sentinel : nodes_.back().next;
    node(released.previous).next = block;
    node(released.next).previous = block;
    ++n_free_;
}

void BlockPool::publish(std::int32_t block, const BlockKey& key) {
    Node& filled = held(block);
    if (filled.published || !published_.try_emplace(key, block).second) return;
    filled.published = true;
    filled.key = key;
    ++n_published_;
}

void BlockPool::publish_part(std::int32_t block, const BlockKey& key) {
    Node& begun = held(block);
    if (published_.try_emplace(key, block).second) begun.parts.push_back(key);
}

bool BlockPool::is_live(const BlockKey& key) const {
    const auto found = published_.find(key);
    return found != published_.end() && ref_count(found->second) > 0;
}

std::vector<std::pair<std::int32_t, BlockKey>> BlockPool::free_published() const {
    std::vector<std::pair<std::int32_t, BlockKey>> found;
    for (std::int32_t block = nodes_.back().previous; block != capacity();) {
        const Node& free = nodes_[static_cast<std::size_t>(block)];
        if (free.published) found.emplace_back(block, free.key);
        block = free.previous;
    }
    return found;
}

std::optional<std::int32_t> BlockPool::reuse(const BlockKey& key) {
    const auto found = published_.find(key);
    if (found == published_.end()) return std::nullopt;
    Node& shared = node(found->second);
    if (shared.refs++ == 0) unlink(found->second);
    return found->second;
}

}  // namespace llmcore
