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
    for (std::int32_t i = 0; i <= n; ++i) {
        nodes_[static_cast<std::size_t>(i)] = {i == 0 ? n : i - 1, i == n ? 0 : i + 1, 0};
    }
}

std::int32_t BlockPool::ref_count(std::int32_t block) const {
    if (block < 0 || block >= capacity()) fail(ErrorCode::internal, "cache", "no such KV block");
    return nodes_[static_cast<std::size_t>(block)].refs;
}

BlockPool::Node& BlockPool::held(std::int32_t block) {
    if (ref_count(block) == 0) fail(ErrorCode::internal, "cache", "KV block is free but treated as held");
    return nodes_[static_cast<std::size_t>(block)];
}

std::int32_t BlockPool::take() {
    if (n_free_ == 0) fail(ErrorCode::internal, "cache", "no free KV block");
    Node& sentinel = nodes_.back();
    const std::int32_t block = sentinel.next;
    Node& node = nodes_[static_cast<std::size_t>(block)];
    sentinel.next = node.next;
    nodes_[static_cast<std::size_t>(node.next)].previous = static_cast<std::int32_t>(capacity());
    node.refs = 1;
    --n_free_;
    return block;
}

void BlockPool::retain(std::int32_t block) { ++held(block).refs; }

void BlockPool::release(std::int32_t block) {
    Node& node = held(block);
    if (--node.refs > 0) return;
    Node& sentinel = nodes_.back();
    node.previous = sentinel.previous;
    node.next = static_cast<std::int32_t>(capacity());
    nodes_[static_cast<std::size_t>(sentinel.previous)].next = block;
    sentinel.previous = block;
    ++n_free_;
}

}  // namespace llmcore
