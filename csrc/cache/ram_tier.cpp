#include "cache/ram_tier.h"

#include <iterator>
#include <utility>

namespace llmcore {

const std::byte* RamTier::use(const BlockKey& key) {
    const auto found = places_.find(key);
    if (found == places_.end()) return nullptr;
    entries_.splice(entries_.end(), entries_, found->second);
    return found->second->bytes.get();
}

std::optional<RamTier::Entry> RamTier::make_room() {
    if (size() < most_) return std::nullopt;
    return take(entries_.begin());
}

void RamTier::add(Entry entry) {
    entries_.push_back(std::move(entry));
    places_.emplace(entries_.back().key, std::prev(entries_.end()));
}

void RamTier::forget(const BlockKey& key) {
    const auto found = places_.find(key);
    if (found != places_.end()) take(found->second);
}

std::optional<RamTier::Entry> RamTier::take_newest() {
    if (entries_.empty()) return std::nullopt;
    return take(std::prev(entries_.end()));
}

std::optional<RamTier::Entry> RamTier::take(std::list<Entry>::iterator place) {
    Entry taken = std::move(*place);
    places_.erase(taken.key);
    entries_.erase(place);
    return taken;
}

}  // namespace llmcore
