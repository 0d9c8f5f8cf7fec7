#include "engine/waiting_line.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace llmcore {

namespace {

constexpr std::size_t kRememberedTenants = 1024;

}  // namespace

void WaitingLine::add(SequenceId id, const Place& place, bool first) {
    auto& line = lines_[place.priority][place.tenant];
    line.insert(first ? line.begin() : line.end(), id);
    ++size_;
}

void WaitingLine::remove(SequenceId id, const Place& place) {
    const auto tenants = lines_.find(place.priority);
    auto& line = tenants->second[place.tenant];
    line.erase(std::find(line.begin(), line.end(), id));
    if (line.empty()) tenants->second.erase(place.tenant);
    if (tenants->second.empty()) lines_.erase(tenants);
    --size_;
}

std::optional<SequenceId> WaitingLine::next(const std::function<bool(SequenceId)>& ready) const {
    for (const auto& [priority, tenants] : lines_) {
        std::optional<SequenceId> best;
        std::int64_t least = std::numeric_limits<std::int64_t>::max();
        for (const auto& [tenant, line] : tenants) {
            const std::int64_t served = tenants_.at(tenant).served;
            if (best && served >= least) continue;
            const auto found = std::find_if(line.begin(), line.end(), ready);
            if (found == line.end()) continue;
            best = *found;
            least = served;
        }
        if (best) return best;
    }
    return std::nullopt;
}

void WaitingLine::enter(std::uint64_t tenant) {
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (const auto& [other, state] : tenants_) {
        if (state.live > 0) least = std::min(least, state.served);
    }
    Tenant& entered = tenants_[tenant];
    if (entered.live++ == 0 && least != std::numeric_limits<std::int64_t>::max()) {
        entered.served = std::max(entered.served, least);
    }
}

void WaitingLine::leave(std::uint64_t tenant) {
    --tenants_.at(tenant).live;
    if (tenants_.size() > kRememberedTenants) forget_idle_tenants();
}

void WaitingLine::forget_idle_tenants() {
    std::erase_if(tenants_, [](const auto& entry) { return entry.second.live == 0; });
}

}  // namespace llmcore
