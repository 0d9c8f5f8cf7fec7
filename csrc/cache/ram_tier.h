// Contents of KV blocks in ordinary memory, within a limit, the least recently used given up first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

#include "cache/block_key.h"

namespace llmcore {

using BlockBytes = std::unique_ptr<std::byte[]>;

class RamTier {
public:
    struct Entry {
        BlockKey key;
        BlockBytes bytes;
        bool transient = false;  // of no use to anybody but this process
    };

    // So many blocks at most, 1 or more.
    explicit RamTier(std::int64_t most) : most_(most) {}

    std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }
    bool contains(const BlockKey& key) const { return places_.contains(key); }
    // The contents, now the most recently used ones; null if there are none of that name.
    const std::byte* use(const BlockKey& key);
    // What has to go before another can be added: nothing as long as there is room.
    std::optional<Entry> make_room();
    // Adds contents of a name that is not there; make_room() came before.
    void add(Entry entry);
    void forget(const BlockKey& key);
    // The most recently used entry, taken out; nothing when empty.
    std::optional<Entry> take_newest();

private:
    std::optional<Entry> take(std::list<Entry>::iterator place);

    std::int64_t most_;
    std::list<Entry> entries_;  // the least recently used one first
    std::unordered_map<BlockKey, std::list<Entry>::iterator> places_;
};

}  // namespace llmcore
