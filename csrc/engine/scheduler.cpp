#include "engine/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/ceil_div.h"
#include "base/error.h"

namespace llmcore {

namespace {

// The longest the sequence's text can get, in tokens.
std::int64_t longest(const SchedulerConfig& config, const SequenceNeeds& needs) {
    return needs.max_new_tokens >= config.n_ctx - needs.n_prompt ? config.n_ctx
                                                                 : needs.n_prompt + needs.max_new_tokens;
}

// Gives its block back.
class HeldBlock {
public:
    HeldBlock(BlockPool& pool, std::int32_t block) : pool_(pool), block_(block) {}
    ~HeldBlock() { pool_.release(block_); }
    HeldBlock(const HeldBlock&) = delete;
    HeldBlock& operator=(const HeldBlock&) = delete;

private:
    BlockPool& pool_;
    std::int32_t block_;
};

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, SpilledBlocks* spilled, CopyBlock copy)
    : config_(config),
      spilled_(spilled),
      copy_(std::move(copy)),
      pool_(config.n_blocks),
      mixed_prompt_tokens_(config.mixed_prompt_tokens) {
    if (spilled_ != nullptr) {
        pool_.on_leaving(
            [spilled](std::int32_t block, const BlockKey& key) { spilled->leaving(block, key); });
    }
    // Every running sequence must be able to decode in every step.
    config_.max_batch = std::min({config.max_batch, config.max_step_tokens, config.max_logit_rows});
    if (config.n_ctx < 1 || config.block_tokens < 1 || config_.max_batch < 1 ||
        config.mixed_prompt_tokens < 1) {
        fail(ErrorCode::invalid_argument, "scheduler",
             "n_ctx, block_tokens, max_batch, max_step_tokens, max_logit_rows and mixed_prompt_tokens must "
             "be 1 "
             "or more");
    }
    if (!copy_ || config.part_tokens == 0) config_.part_tokens = config.block_tokens;
    if (config_.part_tokens < 1 || config.block_tokens % config_.part_tokens != 0) {
        fail(ErrorCode::invalid_argument, "scheduler", "part_tokens", std::to_string(config.part_tokens),
             "a divisor of block_tokens, " + std::to_string(config.block_tokens));
    }
    parts_of_block_ = static_cast<std::size_t>(config.block_tokens / config_.part_tokens);
    if (config.whole_prompts && std::min(config.max_step_tokens, config.max_logit_rows) < config.n_ctx) {
        fail(ErrorCode::invalid_argument, "scheduler", "a step has no room for a whole prompt",
             std::to_string(std::min(config.max_step_tokens, config.max_logit_rows)) + " rows",
             "n_ctx, " + std::to_string(config.n_ctx));
    }
}

void Scheduler::check_fits(const SchedulerConfig& config, const SequenceNeeds& needs) {
    if (needs.n_prompt < 1) fail(ErrorCode::invalid_argument, "scheduler", "the prompt is empty");
    const bool generates = needs.max_new_tokens > 0;
    if (generates ? needs.n_prompt >= config.n_ctx : needs.n_prompt > config.n_ctx) {
        fail(ErrorCode::context_length, "scheduler", "the prompt does not fit the context",
             std::to_string(needs.n_prompt) + " tokens",
             "at most " + std::to_string(config.n_ctx - (generates ? 1 : 0)) + " with a context of " +
                 std::to_string(config.n_ctx));
    }
    const std::int64_t room = config.n_blocks * config.block_tokens;
    if (longest(config, needs) > room) {
        fail(ErrorCode::context_length, "scheduler", "prompt and max_tokens do not fit the KV cache",
             std::to_string(longest(config, needs)) + " tokens", "at most " + std::to_string(room));
    }
}

// What an admitted sequence counts for: its longest text if it may not be preempted, else its tokens and some
// room to grow, so that it does not have to give way at once.
std::int64_t Scheduler::committed_blocks(const Sequence& sequence) const {
    const std::int64_t most = longest(config_, sequence.needs);
    const std::int64_t n_tokens =
        sequence.may_be_preempted() ? std::min(most, sequence.known + config_.room_to_grow) : most;
    return ceil_div(n_tokens, config_.block_tokens);
}

// Of all that run; a block that several hold counts once.
std::int64_t Scheduler::committed_blocks() const {
    std::int64_t committed = pool_.used_blocks();
    for (const SequenceId id : running_) {
        const Sequence& held = sequence(id);
        committed += committed_blocks(held) - static_cast<std::int64_t>(held.blocks.size());
    }
    return committed;
}

// One token at least is left to run: its logits are wanted.
std::size_t Scheduler::most_reusable(const Sequence& starting) const {
    if (starting.needs.all_rows) return 0;
    return std::min(starting.keys.size(),
                    static_cast<std::size_t>((starting.known - 1) / config_.block_tokens));
}

// Blocks that it would share with sequences that run.
std::int64_t Scheduler::live_prefix(const Sequence& starting) const {
    const std::size_t most = most_reusable(starting);
    std::size_t live = 0;
    while (live < most && pool_.is_live(starting.keys[live])) ++live;
    return static_cast<std::int64_t>(live);
}

void Scheduler::add(SequenceId id, const SequenceNeeds& needs, std::vector<BlockKey> keys) {
    check_fits(config_, needs);
    if (contains(id)) {
        fail(ErrorCode::invalid_argument, "scheduler", "sequence id in use", std::to_string(id), "a new one");
    }
    Sequence added;
    added.needs = needs;
    added.known = needs.n_prompt;
    if (config_.reuses_prefixes) name_parts(added, keys);
    const WaitingLine::Place place = added.place();
    sequences_.emplace(id, std::move(added));
    waiting_.enter(needs.tenant);
    waiting_.add(id, place, false);
}

void Scheduler::name_parts(Sequence& named, std::span<const BlockKey> keys) const {
    for (const BlockKey& key : keys) {
        named.part_keys.push_back(key);
        if (named.part_keys.size() % parts_of_block_ == 0) named.keys.push_back(key);
    }
}

const Scheduler::Sequence& Scheduler::sequence(SequenceId id) const {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) fail(ErrorCode::internal, "scheduler", "no such sequence");
    return found->second;
}

Scheduler::Sequence& Scheduler::sequence(SequenceId id) {
    return const_cast<Sequence&>(static_cast<const Scheduler*>(this)->sequence(id));
}

std::vector<StepEntry>::iterator Scheduler::Draft::find(SequenceId id) {
    return std::find_if(entries.begin(), entries.end(),
                        [id](const StepEntry& entry) { return entry.id == id; });
}

std::vector<StepEntry> Scheduler::schedule() {
    if (spilled_ != nullptr) take_arrivals();
    std::vector<StepEntry> step = schedule_kind(pooling_turn_);
    if (step.empty()) {
        step = schedule_kind(!pooling_turn_);
    } else {
        // The other kind goes next, if it has work: neither starves.
        pooling_turn_ = !pooling_turn_;
    }
    return step;
}

std::vector<StepEntry> Scheduler::schedule_kind(bool pooling) {
    Draft draft{config_.max_step_tokens, config_.max_logit_rows, false, {}};
    schedule_decode(pooling, draft);
    add_proposed(draft);
    if (!draft.entries.empty()) draft.tokens = std::min(draft.tokens, mixed_prompt_tokens_);
    schedule_brief(pooling, draft);
    const std::vector<SequenceId> running = running_;  // those preempted on the way are passed over
    for (const SequenceId id : running) {
        if (sequence(id).reads_prompt(pooling) && draft.find(id) == draft.entries.end())
            schedule_prompt(id, draft);
    }
    if (!draft.preempted) admit(pooling, [](const Sequence&) { return true; }, draft);
    return std::move(draft.entries);
}

void Scheduler::schedule_decode(bool pooling, Draft& draft) {
    const std::vector<SequenceId> running = running_;
    for (const SequenceId id : running) {
        const Sequence& candidate = sequence(id);
        if (!candidate.running || candidate.needs.pooling != pooling || !candidate.decoding()) continue;
        if (secure_blocks(id, 1, draft) < 1) continue;
        draft.entries.push_back({id, 1});
        --draft.tokens;
        --draft.logit_rows;
    }
}

// Guesses take free blocks and at most half of what room the step has left, so that prompts get on too.
void Scheduler::add_proposed(Draft& draft) {
    for (StepEntry& entry : draft.entries) {
        Sequence& guessing = sequence(entry.id);
        const std::int64_t held = static_cast<std::int64_t>(guessing.blocks.size()) * config_.block_tokens;
        const std::int64_t room = held + pool_.free_blocks() * config_.block_tokens - guessing.known;
        const std::int64_t left = longest(config_, guessing.needs) - guessing.known;
        const std::int64_t n = std::min(
            {std::exchange(guessing.proposed, 0), draft.tokens / 2, draft.logit_rows / 2, room, left});
        if (n <= 0) continue;
        entry.n_tokens += secure_blocks(entry.id, n + 1, draft) - 1;
        draft.tokens -= entry.n_tokens - 1;
        draft.logit_rows -= entry.n_tokens - 1;
    }
}

// The longer prompts keep half of the room, so that any number of brief ones does not stop them; where nobody
// decodes and the step would be as long as it can, as much as the brief ones take.
void Scheduler::schedule_brief(bool pooling, Draft& draft) {
    const std::vector<SequenceId> running = running_;
    std::optional<std::int64_t> earliest;  // priority of a longer one
    for (const SequenceId id : running) {
        const Sequence& prompt = sequence(id);
        if (prompt.brief || !prompt.reads_prompt(pooling)) continue;
        earliest = std::min(earliest.value_or(prompt.needs.priority), prompt.needs.priority);
    }
    if (!earliest || config_.whole_prompts) return;
    const bool decodes = !draft.entries.empty();
    const std::int64_t room = draft.tokens / 2;
    const std::int64_t kept = draft.tokens - room;
    draft.tokens = room;
    for (const SequenceId id : running) {
        const Sequence& prompt = sequence(id);
        if (prompt.brief && prompt.reads_prompt(pooling) && prompt.needs.priority <= *earliest)
            schedule_prompt(id, draft);
    }
    if (!draft.preempted) {
        admit(
            pooling,
            [&](const Sequence& waiter) {
                std::size_t cached = 0;
                while (cached < most_reusable(waiter) && pool_.contains(waiter.keys[cached])) ++cached;
                return waiter.needs.priority <= *earliest &&
                       is_brief(waiter, static_cast<std::int64_t>(cached) * config_.block_tokens);
            },
            draft);
    }
    const std::int64_t taken = room - draft.tokens;
    draft.tokens = decodes || taken <= 0 ? draft.tokens + kept : std::min(kept, taken);
}

bool Scheduler::is_brief(const Sequence& prompt, std::int64_t cached) const {
    return prompt.known - cached <= config_.brief_prompt_tokens;
}

void Scheduler::schedule_prompt(SequenceId id, Draft& draft) {
    const Sequence& prompt = sequence(id);
    const std::int64_t left = prompt.known - prompt.cached;
    std::int64_t n_tokens = std::min(left, draft.tokens);
    if (prompt.needs.all_rows) {
        n_tokens = std::min(n_tokens, draft.logit_rows);
    } else if (n_tokens == left && draft.logit_rows == 0) {
        --n_tokens;  // what ends the prompt asks for one row; without room for it, the end waits
    }
    // What does not fit this step is the first of the next: those before it in line are done by then.
    const auto cut = [&] { return config_.whole_prompts && n_tokens < left; };
    if (n_tokens > 0 && !cut()) n_tokens = secure_blocks(id, n_tokens, draft);
    if (n_tokens <= 0 || cut()) return;
    draft.entries.push_back({id, n_tokens});
    draft.tokens -= n_tokens;
    draft.logit_rows -= prompt.needs.all_rows ? n_tokens : (n_tokens == left ? 1 : 0);
}

// Whether a running sequence is about to compute the next block that this one could reuse.
bool Scheduler::awaits_donor(const Sequence& waiter) const {
    if (waiter.needs.all_rows) return false;
    std::size_t missing = 0;
    while (missing < waiter.keys.size() && pool_.contains(waiter.keys[missing])) ++missing;
    const auto end = static_cast<std::int64_t>(missing + 1) * config_.block_tokens;
    if (missing == waiter.keys.size() || end >= waiter.known) return false;
    return std::any_of(running_.begin(), running_.end(), [&](SequenceId id) {
        const Sequence& donor = sequence(id);
        return donor.keys.size() > missing && donor.keys[missing] == waiter.keys[missing] &&
               donor.cached < end && donor.known >= end;
    });
}

void Scheduler::attach_prefix(SequenceId id, Sequence& starting) {
    const std::size_t most = most_reusable(starting);
    while (starting.blocks.size() < most) {
        const BlockKey& key = starting.keys[starting.blocks.size()];
        std::optional<std::int32_t> block = pool_.reuse(key);
        if (!block) block = bring_back(key);
        if (!block) break;
        starting.blocks.push_back(*block);
    }
    starting.published = starting.blocks.size() * parts_of_block_;
    starting.cached = static_cast<std::int64_t>(starting.blocks.size()) * config_.block_tokens;
    if (starting.kept > 0) attach_kept(id, starting);
    if (starting.cached % config_.block_tokens == 0) attach_part(starting);
    if (!std::exchange(starting.ran_before, true)) starting.reused = starting.cached;
}

// Whoever else holds the block may write behind the part, so the rest of it is no longer theirs: it is
// copied.
void Scheduler::attach_part(Sequence& starting) {
    if (starting.needs.all_rows) return;
    const std::size_t begin = starting.blocks.size() * parts_of_block_;
    const auto runnable = static_cast<std::size_t>((starting.known - 1) / config_.part_tokens);
    std::size_t end = std::min({starting.part_keys.size(), runnable, begin + parts_of_block_ - 1});
    for (; end > begin; --end) {
        const std::optional<std::int32_t> donor = pool_.reuse(starting.part_keys[end - 1]);
        if (!donor) continue;
        const HeldBlock held(pool_, *donor);
        if (pool_.free_blocks() == 0) return;
        starting.blocks.push_back(pool_.take());
        copy_(*donor, starting.blocks.back());
        starting.cached = static_cast<std::int64_t>(end) * config_.part_tokens;
        return;
    }
}

// Strictly in order: a long request waits for room rather than being overtaken for ever. Who is taken from
// the middle of the line, since what comes before is of the other kind or not `wanted`, leaves a place and
// blocks for the head.
void Scheduler::admit(bool pooling, const std::function<bool(const Sequence&)>& wanted, Draft& draft) {
    const auto is_ready = [this](SequenceId id) {
        return !awaits_donor(sequence(id)) && !awaits_folder(sequence(id));
    };
    std::int64_t committed = committed_blocks();
    while (waiting_.size() > 0 && draft.tokens > 0 && !draft.preempted) {
        const std::optional<SequenceId> head = waiting_.next(is_ready);
        if (!head) return;
        const std::int64_t latest = sequence(*head).needs.priority;
        const std::optional<SequenceId> id = waiting_.next([&](SequenceId candidate) {
            const Sequence& waiter = sequence(candidate);
            return waiter.needs.pooling == pooling && waiter.needs.priority <= latest && wanted(waiter) &&
                   is_ready(candidate);
        });
        if (!id) return;
        committed += committed_blocks(sequence(*id)) - live_prefix(sequence(*id));
        const std::int64_t places = *id == *head ? 1 : 2;
        const std::int64_t blocks = *id == *head ? 0 : committed_blocks(sequence(*head));
        if (running() + places > config_.max_batch || committed + blocks > pool_.capacity()) return;
        start(*id, draft);
    }
}

void Scheduler::start(SequenceId id, Draft& draft) {
    Sequence& started = sequence(id);
    waiting_.remove(id, started.place());
    running_.push_back(id);
    started.running = true;
    attach_prefix(id, started);
    started.brief = is_brief(started, started.cached);
    schedule_prompt(id, draft);
}

// Takes the blocks for up to n_tokens more; returns for how many there are blocks now.
std::int64_t Scheduler::secure_blocks(SequenceId id, std::int64_t n_tokens, Draft& draft) {
    Sequence& growing = sequence(id);
    const std::int64_t needed = ceil_div(growing.cached + n_tokens, config_.block_tokens);
    const auto held = [&] { return static_cast<std::int64_t>(growing.blocks.size()); };
    while (held() < needed) {
        // Blocks that others hold as well do not become free with one holder.
        while (pool_.free_blocks() == 0 && preempt_for(id, draft)) {
        }
        if (pool_.free_blocks() == 0) break;
        growing.blocks.push_back(pool_.take());
    }
    return std::min(n_tokens, held() * config_.block_tokens - growing.cached);
}

// Preempts the sequence admitted last that has blocks to give; one that may be preempted itself only takes
// from later ones. So the oldest always gets on, and with it everything. False if there is none.
bool Scheduler::preempt_for(SequenceId id, Draft& draft) {
    const bool spares_older = sequence(id).may_be_preempted();
    for (auto place = running_.rbegin(); place != running_.rend(); ++place) {
        if (*place == id) {
            if (spares_older) return false;
            continue;
        }
        const Sequence& victim = sequence(*place);
        if (!victim.may_be_preempted() || victim.blocks.empty()) continue;
        take_back(*place, draft);
        return true;
    }
    return false;
}

void Scheduler::take_back(SequenceId id, Draft& draft) {
    Sequence& victim = sequence(id);
    const auto entry = draft.find(id);
    if (entry != draft.entries.end()) {
        if (!victim.decoding()) draft.tokens += entry->n_tokens;
        draft.logit_rows += victim.cached + entry->n_tokens >= victim.known ? 1 : 0;
        draft.entries.erase(entry);
    }
    keep_rest(id, victim);
    release_blocks(victim);
    victim.running = false;
    running_.erase(std::find(running_.begin(), running_.end(), id));
    waiting_.add(id, victim.place(), true);
    draft.preempted = true;
    ++preemptions_;
}

// The last blocks first: of a chain that is found again, the beginning is worth most.
void Scheduler::release_blocks(Sequence& released) {
    for (auto block = released.blocks.rbegin(); block != released.blocks.rend(); ++block)
        pool_.release(*block);
    released.blocks.clear();
    released.cached = 0;
    released.published = 0;
}

void Scheduler::limit_mixed_prompt(std::int64_t n_tokens) {
    mixed_prompt_tokens_ = std::clamp<std::int64_t>(n_tokens, 0, config_.mixed_prompt_tokens);
}

std::int64_t Scheduler::prompts() const {
    const std::int64_t started = std::count_if(running_.begin(), running_.end(),
                                               [this](SequenceId id) { return !sequence(id).decoding(); });
    return started + std::min(waiting(), config_.max_batch - running());
}

bool Scheduler::reads_brief_prompt() const {
    return std::any_of(running_.begin(), running_.end(),
                       [this](SequenceId id) { return sequence(id).brief && !sequence(id).decoding(); });
}

void Scheduler::advance(SequenceId id, std::int64_t n_tokens) {
    Sequence& advanced = sequence(id);
    if (n_tokens < 0 || advanced.cached + n_tokens > advanced.known) {
        fail(ErrorCode::internal, "scheduler", "more tokens cached than known");
    }
    advanced.cached += n_tokens;
    waiting_.serve(advanced.needs.tenant, n_tokens);
    const auto reached = static_cast<std::size_t>(advanced.cached / config_.part_tokens);
    while (advanced.published < std::min(reached, advanced.part_keys.size())) {
        const std::int32_t block = advanced.blocks[advanced.published / parts_of_block_];
        const BlockKey& key = advanced.part_keys[advanced.published++];
        if (advanced.published % parts_of_block_ == 0) {
            pool_.publish(block, key);
        } else {
            pool_.publish_part(block, key);
        }
    }
}

void Scheduler::append_token(SequenceId id, std::optional<BlockKey> key) {
    Sequence& appended = sequence(id);
    if (appended.known >= longest(config_, appended.needs)) {
        fail(ErrorCode::internal, "scheduler", "a sequence grew beyond its limit");
    }
    ++appended.known;
    const bool in_order =
        static_cast<std::int64_t>(appended.part_keys.size() + 1) * config_.part_tokens == appended.known;
    if (key && config_.reuses_prefixes && in_order) name_parts(appended, {&*key, 1});
}

void Scheduler::finish(SequenceId id) {
    Sequence& finished = sequence(id);
    release_blocks(finished);
    forget_kept(id, finished);
    if (finished.running) {
        running_.erase(std::find(running_.begin(), running_.end(), id));
    } else {
        waiting_.remove(id, finished.place());
    }
    waiting_.leave(finished.needs.tenant);
    sequences_.erase(id);
}

}  // namespace llmcore
