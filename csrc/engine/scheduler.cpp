#include "engine/scheduler.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace llmcore {

namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The longest the sequence's text can get, in tokens.
std::int64_t longest(const SchedulerConfig& config, const SequenceNeeds& needs) {
    return needs.max_new_tokens >= config.n_ctx - needs.n_prompt ? config.n_ctx
                                                                 : needs.n_prompt + needs.max_new_tokens;
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config), pool_(config.n_blocks), mixed_prompt_tokens_(config.mixed_prompt_tokens) {
    // Every running sequence must be able to decode in every step.
    config_.max_batch = std::min({config.max_batch, config.max_step_tokens, config.max_logit_rows});
    if (config.n_ctx < 1 || config.block_tokens < 1 || config_.max_batch < 1 ||
        config.mixed_prompt_tokens < 1) {
        fail(ErrorCode::invalid_argument, "scheduler",
             "n_ctx, block_tokens, max_batch, max_step_tokens, max_logit_rows and mixed_prompt_tokens must "
             "be 1 "
             "or more");
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

void Scheduler::add(SequenceId id, const SequenceNeeds& needs) {
    check_fits(config_, needs);
    if (contains(id)) {
        fail(ErrorCode::invalid_argument, "scheduler", "sequence id in use", std::to_string(id), "a new one");
    }
    Sequence added;
    added.needs = needs;
    added.known = needs.n_prompt;
    sequences_.emplace(id, std::move(added));
    wait_in_line(id, false);
}

// By priority; among equals last, or first for one that ran before.
void Scheduler::wait_in_line(SequenceId id, bool first_of_equals) {
    const std::int64_t priority = sequence(id).needs.priority;
    const auto comes_after = [&](SequenceId other) {
        const std::int64_t others = sequence(other).needs.priority;
        return first_of_equals ? others >= priority : others > priority;
    };
    waiting_.insert(std::find_if(waiting_.begin(), waiting_.end(), comes_after), id);
}

const Scheduler::Sequence& Scheduler::sequence(SequenceId id) const {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) fail(ErrorCode::internal, "scheduler", "no such sequence");
    return found->second;
}

Scheduler::Sequence& Scheduler::sequence(SequenceId id) {
    return const_cast<Sequence&>(static_cast<const Scheduler*>(this)->sequence(id));
}

std::vector<StepEntry> Scheduler::schedule() {
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
    if (!draft.entries.empty()) draft.tokens = std::min(draft.tokens, mixed_prompt_tokens_);
    const std::vector<SequenceId> running = running_;  // those preempted on the way are passed over
    for (const SequenceId id : running) {
        const Sequence& candidate = sequence(id);
        if (candidate.running && candidate.needs.pooling == pooling && !candidate.decoding()) {
            schedule_prompt(id, draft);
        }
    }
    if (!draft.preempted) admit(pooling, draft);
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

void Scheduler::schedule_prompt(SequenceId id, Draft& draft) {
    const Sequence& prompt = sequence(id);
    const std::int64_t left = prompt.known - prompt.cached;
    std::int64_t n_tokens = std::min(left, draft.tokens);
    if (prompt.needs.all_rows) {
        n_tokens = std::min(n_tokens, draft.logit_rows);
    } else if (n_tokens == left && draft.logit_rows == 0) {
        --n_tokens;  // what ends the prompt asks for one row; without room for it, the end waits
    }
    if (n_tokens > 0) n_tokens = secure_blocks(id, n_tokens, draft);
    if (n_tokens <= 0) return;
    draft.entries.push_back({id, n_tokens});
    draft.tokens -= n_tokens;
    draft.logit_rows -= prompt.needs.all_rows ? n_tokens : (n_tokens == left ? 1 : 0);
}

void Scheduler::admit(bool pooling, Draft& draft) {
    std::int64_t committed = 0;
    for (const SequenceId id : running_) committed += committed_blocks(sequence(id));
    // Strictly in order: a long request at the head waits for room rather than being overtaken for ever.
    while (!waiting_.empty() && running() < config_.max_batch && draft.tokens > 0) {
        const SequenceId id = waiting_.front();
        Sequence& next = sequence(id);
        committed += committed_blocks(next);
        if (committed > pool_.capacity()) return;
        waiting_.pop_front();
        running_.push_back(id);
        next.running = true;
        if (next.needs.pooling == pooling) schedule_prompt(id, draft);
    }
}

// Takes the blocks for up to n_tokens more; returns for how many there are blocks now.
std::int64_t Scheduler::secure_blocks(SequenceId id, std::int64_t n_tokens, Draft& draft) {
    Sequence& growing = sequence(id);
    const std::int64_t needed = ceil_div(growing.cached + n_tokens, config_.block_tokens);
    const auto held = [&] { return static_cast<std::int64_t>(growing.blocks.size()); };
    while (held() < needed && (pool_.free_blocks() > 0 || preempt_for(id, draft))) {
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
    const auto entry = std::find_if(draft.entries.begin(), draft.entries.end(),
                                    [&](const StepEntry& e) { return e.id == id; });
    if (entry != draft.entries.end()) {
        if (!victim.decoding()) draft.tokens += entry->n_tokens;
        draft.logit_rows += victim.cached + entry->n_tokens == victim.known ? 1 : 0;
        draft.entries.erase(entry);
    }
    for (const std::int32_t block : victim.blocks) pool_.release(block);
    victim.blocks.clear();
    victim.cached = 0;
    victim.running = false;
    running_.erase(std::find(running_.begin(), running_.end(), id));
    wait_in_line(id, true);
    draft.preempted = true;
    ++preemptions_;
}

void Scheduler::limit_mixed_prompt(std::int64_t n_tokens) {
    mixed_prompt_tokens_ = std::clamp<std::int64_t>(n_tokens, 1, config_.mixed_prompt_tokens);
}

void Scheduler::advance(SequenceId id, std::int64_t n_tokens) {
    Sequence& advanced = sequence(id);
    if (n_tokens < 0 || advanced.cached + n_tokens > advanced.known) {
        fail(ErrorCode::internal, "scheduler", "more tokens cached than known");
    }
    advanced.cached += n_tokens;
}

void Scheduler::append_token(SequenceId id) {
    Sequence& appended = sequence(id);
    if (appended.known >= longest(config_, appended.needs)) {
        fail(ErrorCode::internal, "scheduler", "a sequence grew beyond its limit");
    }
    ++appended.known;
}

void Scheduler::finish(SequenceId id) {
    Sequence& finished = sequence(id);
    for (const std::int32_t block : finished.blocks) pool_.release(block);
    if (finished.running) {
        running_.erase(std::find(running_.begin(), running_.end(), id));
    } else {
        waiting_.erase(std::find(waiting_.begin(), waiting_.end(), id));
    }
    sequences_.erase(id);
}

}  // namespace llmcore
