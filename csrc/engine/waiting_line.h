// Sequences that wait to be admitted: by priority, and among equals fairly between the tenants they belong
// to.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>

namespace llmcore {

using SequenceId = std::uint64_t;

class WaitingLine {
public:
    struct Place {
        std::int64_t priority = 0;  // lower comes earlier
        std::uint64_t tenant = 0;
    };

    // In a tenant's line of a priority: last, or first for one that ran before.
    void add(SequenceId id, const Place& place, bool first);
    void remove(SequenceId id, const Place& place);

    // Of the lowest priority that has one: the first that is `ready`, of the tenant that was served least.
    std::optional<SequenceId> next(const std::function<bool(SequenceId)>& ready) const;
    std::int64_t size() const { return size_; }

    // A tenant has one sequence more, or fewer, that waits or runs. One that comes back starts level with the
    // least served of the others: it can save up nothing (start-time fair queueing, Goyal et al. 1996).
    void enter(std::uint64_t tenant);
    void leave(std::uint64_t tenant);
    // So many of its tokens were run.
    void serve(std::uint64_t tenant, std::int64_t n_tokens) { tenants_.at(tenant).served += n_tokens; }

private:
    struct Tenant {
        std::int64_t served = 0;  // tokens
        std::int64_t live = 0;    // sequences
    };

    void forget_idle_tenants();

    std::map<std::int64_t, std::map<std::uint64_t, std::deque<SequenceId>>> lines_;
    std::int64_t size_ = 0;
    std::unordered_map<std::uint64_t, Tenant> tenants_;
};

}  // namespace llmcore
