// What a step's result means for each sequence: sampled tokens, text, ends.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/stepper.h"

namespace llmcore {

namespace {

double seconds(Stepper::Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Values of a step's logits for which threads are worth waking.
constexpr std::int64_t kLeastShared = 1 << 16;

bool wants_logprobs(const RequestSpec& spec) { return spec.score || spec.sampling.logprobs; }

}  // namespace

void Stepper::process(std::size_t place, const StepEntry& entry, std::span<const float> rows,
                      std::vector<Output>& outputs) {
    LiveSequence& active = sequence(entry.id);
    const RequestSpec& spec = active.request.spec;
    const std::int64_t first = scheduler_.cached_tokens(entry.id);
    const std::int64_t own = std::min(entry.n_tokens, active.n_known() - first);
    scheduler_.advance(entry.id, own);
    const std::int64_t seen = std::min(first + own, active.n_prompt());
    if (seen > active.prompt_seen) totals_.prompt_tokens += seen - std::exchange(active.prompt_seen, seen);
    const bool caught_up = first + own == active.n_known();
    if (spec.kind != RequestKind::generate) {
        collect_values(active, rows);
        if (caught_up) end_values(active, outputs);
        return;
    }
    if (spec.prompt_logprobs && first < active.n_prompt()) collect_prompt_logprobs(active, first, rows);
    if (caught_up) sample_rows(active, place, rows, outputs);
}

// The rows of many sequences are independent, and a row of a large vocabulary takes as long as a matrix of a
// small model: the model's threads share them. Not those whose mask is still being made, nor guesses, of
// which the next depends on the one before.
void Stepper::draw_ahead(const std::vector<StepEntry>& entries, std::span<const float> result) {
    if (threads_ == nullptr || threads_->size() < 2) return;
    struct Drawing {
        LiveSequence* sequence;
        std::span<const float> logits;
    };
    std::vector<Drawing> drawing;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        LiveSequence& active = sequence(entries[i].id);
        const bool ends = scheduler_.cached_tokens(active.id) + entries[i].n_tokens == active.n_known();
        if (active.request.spec.kind != RequestKind::generate || !ends || guide_places_[i] >= 0) continue;
        const auto n_vocab = static_cast<std::size_t>(limits_.n_vocab);
        drawing.push_back({&active, rows_.result_of(i, result, limits_.n_vocab).last(n_vocab)});
    }
    if (static_cast<std::int64_t>(drawing.size()) * limits_.n_vocab < kLeastShared) return;
    threads_->parallel_for(
        static_cast<std::int64_t>(drawing.size()), 1, [&](std::int64_t begin, std::int64_t end, int worker) {
            for (std::int64_t i = begin; i < end; ++i) {
                const auto& [active, logits] = drawing[static_cast<std::size_t>(i)];
                active->draw = draw_from(*active, logits, {}, scratches_[static_cast<std::size_t>(worker)]);
            }
        });
}

Draw Stepper::draw_from(LiveSequence& sequence, std::span<const float> logits, const Permission& permission,
                        SamplingScratch& scratch) {
    const RequestSpec& spec = sequence.request.spec;
    Draw draw;
    try {
        draw.token = sequence.sampler.next(logits, scratch, permission.allowed);
        if (wants_logprobs(spec))
            draw.logprobs = compute_logprobs(logits, draw.token, spec.sampling.logprobs.value_or(0), scratch);
    } catch (...) {
        draw.error = std::current_exception();
    }
    return draw;
}

// Each row's token is sampled as ever, from the model's own distribution; a guess that is the same token
// saves its step. So what is sampled does not depend on what is guessed.
void Stepper::sample_rows(LiveSequence& sequence, std::size_t place, std::span<const float> rows,
                          std::vector<Output>& outputs) {
    const SequenceId id = sequence.id;
    const auto n_vocab = static_cast<std::size_t>(limits_.n_vocab);
    const std::vector<std::int32_t> guesses = std::move(sequence.guesses);
    sequence.guesses.clear();
    const bool drafted = std::exchange(sequence.drafted, false);
    rows = rows.last((guesses.size() + 1) * n_vocab);
    std::size_t right = 0;
    std::optional<std::int32_t> token;
    while (true) {
        token = sample(sequence, permission_of(place, sequence.request.spec),
                       rows.subspan(right * n_vocab, n_vocab), outputs);
        if (!token || right == guesses.size() || *token != guesses[right]) break;
        ++right;
        scheduler_.advance(id, 1);
    }
    // Without a token the sequence has ended and is gone.
    learn_guesses(token ? &sequence : nullptr, drafted, guesses.size(), right);
}

void Stepper::collect_prompt_logprobs(LiveSequence& sequence, std::int64_t first,
                                      std::span<const float> rows) {
    const auto n_vocab = static_cast<std::size_t>(limits_.n_vocab);
    for (std::size_t i = 0; i < rows.size() / n_vocab; ++i) {
        const std::size_t next = static_cast<std::size_t>(first) + i + 1;
        if (next >= sequence.request.spec.prompt.size()) return;
        sequence.prompt_logprobs.push_back(
            compute_logprobs(rows.subspan(i * n_vocab, n_vocab), sequence.tokens[next],
                             *sequence.request.spec.prompt_logprobs, scratches_[0]));
    }
}

void Stepper::collect_values(LiveSequence& sequence, std::span<const float> rows) {
    if (sequence.request.spec.kind == RequestKind::logits) {
        sequence.values.insert(sequence.values.end(), rows.begin(), rows.end());
        return;
    }
    // Rows come in order, maybe in several steps.
    const auto width = static_cast<std::size_t>(limits_.d_model);
    std::vector<double>& pooled = sequence.pooled;
    switch (sequence.request.spec.pooling.value_or(limits_.pooling)) {
        case Pooling::cls:
            if (pooled.empty())
                pooled.assign(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(width));
            break;
        case Pooling::last:
            pooled.assign(rows.end() - static_cast<std::ptrdiff_t>(width), rows.end());
            break;
        case Pooling::mean:
            pooled.resize(width);
            for (std::size_t i = 0; i < rows.size(); ++i) pooled[i % width] += static_cast<double>(rows[i]);
            break;
    }
}

void Stepper::end_values(LiveSequence& sequence, std::vector<Output>& outputs) {
    Output output;
    output.finish = FinishReason::stop;
    output.values = std::move(sequence.values);
    const Pooling pooling = sequence.request.spec.pooling.value_or(limits_.pooling);
    const double share = pooling == Pooling::mean ? static_cast<double>(sequence.n_prompt()) : 1.0;
    for (const double sum : sequence.pooled) output.values.push_back(static_cast<float>(sum / share));
    end(sequence, std::move(output), outputs);
}

bool Stepper::ends_text(const RequestSpec& spec, std::int32_t token) const {
    if (std::find(spec.stop_token_ids.begin(), spec.stop_token_ids.end(), token) !=
        spec.stop_token_ids.end()) {
        return true;
    }
    return !spec.ignore_eos && token < vocabulary_.size() && vocabulary_.ends_generation(token);
}

FinishReason Stepper::finish_reason(const LiveSequence& sequence, bool ended) const {
    if (ended || sequence.text.stopped()) return FinishReason::stop;
    const bool full = sequence.n_known() >= scheduler_.config().n_ctx;
    return full || sequence.n_sampled() >= sequence.request.spec.max_tokens ? FinishReason::length
                                                                            : FinishReason::none;
}

std::optional<std::int32_t> Stepper::sample(LiveSequence& sequence, const Permission& permission,
                                            std::span<const float> logits, std::vector<Output>& outputs) {
    const RequestSpec& spec = sequence.request.spec;
    Output output;
    if (spec.prompt_logprobs && sequence.n_sampled() == 0) {
        output.prompt_logprobs = std::move(sequence.prompt_logprobs);
    }
    if (permission.complete) {
        end_text(sequence, FinishReason::stop, std::move(output), outputs);
        return std::nullopt;
    }
    Draw draw = sequence.draw ? *std::exchange(sequence.draw, std::nullopt)
                              : draw_from(sequence, logits, permission, scratches_[0]);
    if (draw.error) std::rethrow_exception(draw.error);
    const std::int32_t token = draw.token;
    if (!sequence.first_token) sequence.first_token = Clock::now();
    sequence.tokens.push_back(token);
    sequence.unguided = token;
    ++totals_.generated_tokens;

    if (wants_logprobs(spec)) sequence.logprob_sum += static_cast<double>(draw.logprobs.chosen.logprob);
    const bool ended = ends_text(spec, token);
    if (!ended) {
        output.tokens.push_back(token);
        if (spec.sampling.logprobs) output.logprobs.push_back(std::move(draw.logprobs));
        output.text = sequence.text.push(token, sequence.n_sampled() >= spec.sampling.min_tokens);
    }
    const FinishReason reason = finish_reason(sequence, ended);
    if (reason != FinishReason::none) {
        end_text(sequence, reason, std::move(output), outputs);
        return std::nullopt;
    }
    append_token(sequence);
    output.request = spec.id;
    output.index = sequence.index;
    outputs.push_back(std::move(output));
    return token;
}

void Stepper::append_token(LiveSequence& sequence) {
    const std::int64_t size = scheduler_.key_tokens();
    if (sequence.n_known() % size != 0) {
        scheduler_.append_token(sequence.id);
        return;
    }
    sequence.chain =
        hasher_.next(sequence.chain, std::span(sequence.tokens).last(static_cast<std::size_t>(size)));
    scheduler_.append_token(sequence.id, sequence.chain);
}

void Stepper::end_text(LiveSequence& sequence, FinishReason reason, Output output,
                       std::vector<Output>& outputs) {
    output.finish = reason;
    output.text += sequence.text.flush();
    end(sequence, std::move(output), outputs);
}

void Stepper::end(LiveSequence& sequence, Output output, std::vector<Output>& outputs) {
    LiveRequest& request = sequence.request;
    const auto now = Clock::now();
    const auto since = [&](const std::optional<Clock::time_point>& point) {
        return seconds(point.value_or(now) - request.submitted);
    };
    output.request = request.spec.id;
    output.index = sequence.index;
    output.prompt_tokens = sequence.n_prompt();
    output.cached_tokens = scheduler_.reused_tokens(sequence.id);
    output.completion_tokens = sequence.n_sampled();
    if (request.spec.score) output.logprob_sum = sequence.logprob_sum;
    output.queue_seconds = since(sequence.first_step);
    output.first_token_seconds = since(sequence.first_token);
    output.total_seconds = since(now);

    if (drafter_) drafter_->forget(sequence.id);
    if (request.spec.guided && guide_) guide_->forget({request.spec.id, sequence.index});
    const SequenceId id = sequence.id;
    scheduler_.finish(id);
    request.live.erase(std::find(request.live.begin(), request.live.end(), id));
    output.request_done = request.live.empty();
    outputs.push_back(std::move(output));
    const std::uint64_t request_id = request.spec.id;
    if (request.live.empty() && request.deadline) --n_deadlines_;
    sequences_.erase(id);
    if (outputs.back().request_done) requests_.erase(request_id);
}

}  // namespace llmcore
