// Finds names by binary search: unlike hashing, no choice of names makes it slow.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace llmcore::gguf {

class NameIndex {
public:
    // Positions are counted in the order of adding; sort() comes after the last.
    void add(std::string_view name) { entries_.emplace_back(name, entries_.size()); }
    void sort() { std::sort(entries_.begin(), entries_.end()); }

    std::optional<std::size_t> find(std::string_view name) const {
        const auto found = std::lower_bound(entries_.begin(), entries_.end(), Entry(name, 0));
        if (found == entries_.end() || found->first != name) return std::nullopt;
        return found->second;
    }

    // The position of a name that an earlier one already has.
    std::optional<std::size_t> find_duplicate() const {
        const auto same = [](const Entry& a, const Entry& b) { return a.first == b.first; };
        const auto found = std::adjacent_find(entries_.begin(), entries_.end(), same);
        if (found == entries_.end()) return std::nullopt;
        return (found + 1)->second;
    }

private:
    using Entry = std::pair<std::string_view, std::size_t>;
    std::vector<Entry> entries_;
};

}  // namespace llmcore::gguf
