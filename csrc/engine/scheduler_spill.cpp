// What the scheduler does with blocks that lie below the pool.
#include <algorithm>
#include <utility>

#include "engine/scheduler.h"

namespace llmcore {

namespace {

// The name of a block that a sequence had to give up and that has no other. Names of contents are random
// words: they do not meet.
BlockKey kept_key(SequenceId id, std::size_t block) { return {id, ~static_cast<std::uint64_t>(block)}; }

}  // namespace

// Free blocks take them: whoever they were read for finds them like all others, and nothing waits with blocks
// in hand.
void Scheduler::take_arrivals() {
    while (pool_.free_blocks() > 0) {
        const std::optional<DiskTier::Contents> arrival = spilled_->next_arrival();
        if (!arrival) return;
        if (pool_.contains(arrival->key)) continue;
        const std::int32_t block = pool_.take();
        spilled_->fill(block, *arrival);
        pool_.publish(block, arrival->key);
        pool_.release(block);
    }
}

// Whether blocks that it may reuse are about to arrive. Asks for them when it is first looked at; not for all
// that wait, or what arrives for one would push out what has arrived for another.
bool Scheduler::awaits_folder(Sequence& waiter) {
    if (spilled_ == nullptr) return false;
    const auto wanted = std::span(waiter.keys).first(most_reusable(waiter));
    const auto at_hand = [this](const BlockKey& key) { return pool_.contains(key) || spilled_->use(key); };
    if (!waiter.fetches) {
        auto first = std::find_if_not(wanted.begin(), wanted.end(), at_hand);
        if (first == wanted.end()) return false;
        if (spilled_->awaits_any() && !spilled_->awaits(*first)) return true;
        waiter.fetches = true;
        while (first != wanted.end() && (at_hand(*first) || spilled_->fetch(*first))) ++first;
    }
    const auto missing = std::find_if_not(wanted.begin(), wanted.end(), at_hand);
    return missing != wanted.end() && spilled_->awaits(*missing);
}

std::optional<std::int32_t> Scheduler::bring_back(const BlockKey& key) {
    if (spilled_ == nullptr || pool_.free_blocks() == 0 || !spilled_->use(key)) return std::nullopt;
    const std::int32_t block = pool_.take();
    if (!spilled_->restore(key, block)) {  // what left the pool for it took its place
        pool_.release(block);
        return std::nullopt;
    }
    pool_.publish(block, key);
    return block;
}

// Blocks with names are found again by these; the others of a sequence that gives way are copied, if that is
// cheaper than to compute them.
void Scheduler::keep_rest(SequenceId id, Sequence& victim) {
    victim.fetches = false;
    if (spilled_ == nullptr) return;
    const std::size_t named = victim.published / parts_of_block_;
    if (victim.cached <= static_cast<std::int64_t>(named) * config_.block_tokens) return;
    victim.kept = victim.cached;
    for (std::size_t i = named; i < victim.blocks.size(); ++i) {
        const std::int64_t begin = static_cast<std::int64_t>(i) * config_.block_tokens;
        if (begin >= victim.cached) break;
        const std::int64_t n_tokens = std::min(config_.block_tokens, victim.cached - begin);
        if (spilled_->keep(kept_key(id, i), victim.blocks[i], n_tokens)) continue;
        forget_kept(id, victim);
        return;
    }
    ++kept_preemptions_;
}

void Scheduler::attach_kept(SequenceId id, Sequence& starting) {
    while (starting.cached < starting.kept) {
        const BlockKey key = kept_key(id, starting.blocks.size());
        if (pool_.free_blocks() == 0 || !spilled_->use(key)) break;
        const std::int32_t block = pool_.take();
        if (!spilled_->restore(key, block)) {
            pool_.release(block);
            break;
        }
        starting.blocks.push_back(block);
        starting.cached =
            std::min(starting.kept, static_cast<std::int64_t>(starting.blocks.size()) * config_.block_tokens);
    }
    forget_kept(id, starting);
}

void Scheduler::forget_kept(SequenceId id, Sequence& sequence) {
    const std::int64_t kept = std::exchange(sequence.kept, 0);
    for (std::size_t i = 0; static_cast<std::int64_t>(i) * config_.block_tokens < kept; ++i)
        spilled_->forget(kept_key(id, i));
}

}  // namespace llmcore
