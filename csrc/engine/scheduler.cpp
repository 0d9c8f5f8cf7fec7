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

std::int64_t Scheduler::reservation(const SequenceNeeds& needs) const {
    return ceil_div(longest(config_, needs), config_.block_tokens);
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
    auto place = waiting_.end();
    while (place != waiting_.begin() && sequence(*std::prev(place)).needs.priority > needs.priority) --place;
    waiting_.insert(place, id);
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
    std::vector<StepEntry> step;
    Room room{config_.max_step_tokens, config_.max_logit_rows};
    schedule_decode(pooling, room, step);
    if (!step.empty()) room.tokens = std::min(room.tokens, mixed_prompt_tokens_);
    for (const SequenceId id : running_) {
        const Sequence& running = sequence(id);
        if (running.needs.pooling == pooling && !running.decoding()) schedule_prompt(id, room, step);
    }
    admit(pooling, room, step);
    return step;
}

void Scheduler::schedule_decode(bool pooling, Room& room, std::vector<StepEntry>& step) {
    for (const SequenceId id : running_) {
        Sequence& running = sequence(id);
        if (running.needs.pooling != pooling || !running.decoding() || running.known <= running.cached)
            continue;
        extend_blocks(running, 1);
        step.push_back({id, 1});
        --room.tokens;
        --room.logit_rows;
    }
}

void Scheduler::schedule_prompt(SequenceId id, Room& room, std::vector<StepEntry>& step) {
    Sequence& prompt = sequence(id);
    const std::int64_t left = prompt.needs.n_prompt - prompt.cached;
    std::int64_t n_tokens = std::min(left, room.tokens);
    std::int64_t logit_rows = 0;
    if (prompt.needs.all_rows) {
        n_tokens = std::min(n_tokens, room.logit_rows);
        logit_rows = n_tokens;
    } else if (n_tokens == left) {
        // The chunk that ends the prompt asks for one row; without room for it, it ends in a later step.
        room.logit_rows > 0 ? logit_rows = 1 : --n_tokens;
    }
    if (n_tokens <= 0) return;
    extend_blocks(prompt, n_tokens);
    step.push_back({id, n_tokens});
    room.tokens -= n_tokens;
    room.logit_rows -= logit_rows;
}

void Scheduler::admit(bool pooling, Room& room, std::vector<StepEntry>& step) {
    // Strictly in order: a long request at the head waits for room rather than being overtaken for ever.
    while (!waiting_.empty() && running() < config_.max_batch && room.tokens > 0) {
        const SequenceId id = waiting_.front();
        Sequence& next = sequence(id);
        const std::int64_t need = reservation(next.needs);
        if (reserved_ + need > pool_.capacity()) return;
        waiting_.pop_front();
        running_.push_back(id);
        next.running = true;
        next.reserved = need;
        reserved_ += need;
        if (next.needs.pooling == pooling) schedule_prompt(id, room, step);
    }
}

void Scheduler::extend_blocks(Sequence& sequence, std::int64_t n_tokens) {
    const std::int64_t needed = ceil_div(sequence.cached + n_tokens, config_.block_tokens);
    while (static_cast<std::int64_t>(sequence.blocks.size()) < needed)
        sequence.blocks.push_back(pool_.take());
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
        fail(ErrorCode::internal, "scheduler", "a sequence grew beyond its reservation");
    }
    ++appended.known;
}

void Scheduler::finish(SequenceId id) {
    Sequence& finished = sequence(id);
    for (const std::int32_t block : finished.blocks) pool_.release(block);
    if (finished.running) {
        reserved_ -= finished.reserved;
        running_.erase(std::find(running_.begin(), running_.end(), id));
    } else {
        waiting_.erase(std::find(waiting_.begin(), waiting_.end(), id));
    }
    sequences_.erase(id);
}

}  // namespace llmcore
