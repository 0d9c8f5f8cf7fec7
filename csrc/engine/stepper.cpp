#include "engine/stepper.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "base/random_word.h"
#include "sampling/random.h"

namespace llmcore {

namespace {

// How long a request may go unheard while blocks are read for another.
constexpr auto kLongestWait = std::chrono::milliseconds(10);

double seconds(Stepper::Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

Stepper::Stepper(ModelRunner& runner, const Vocabulary& vocabulary, const SchedulerConfig& config,
                 const StepperConfig& options, std::unique_ptr<TokenGuide> guide,
                 std::unique_ptr<ModelRunner> draft)
    : runner_(runner),
      vocabulary_(vocabulary),
      limits_(runner.limits()),
      spilled_(options.spilled),
      scheduler_(config, options.spilled,
                 [&runner](std::int32_t from, std::int32_t to) { runner.copy_kv_block(from, to); }),
      threads_(runner.threads()),
      scratches_(threads_ == nullptr ? 1 : static_cast<std::size_t>(threads_->size())),
      guesses_(options.guesses),
      speculation_(options.draft_tokens, options.draft_adapts),
      pace_(options.mixed_step_seconds) {
    if (guide) guide_.emplace(std::move(guide), limits_.n_vocab);
    if (draft && options.draft_tokens > 0)
        drafter_ = std::make_unique<Drafter>(std::move(draft), limits_.n_vocab);
    if (spilled_ != nullptr) hasher_ = spilled_->hasher();
}

void Stepper::add(RequestSpec spec, Clock::time_point submitted, std::vector<Output>& outputs) {
    const std::uint64_t id = spec.id;
    ++totals_.requests;
    try {
        auto request = std::make_unique<LiveRequest>(
            LiveRequest{.spec = std::move(spec), .submitted = submitted, .deadline = {}, .live = {}});
        if (const auto& wait = request->spec.deadline_seconds) {
            // Longer than anybody waits, and short of what the clock can count.
            const double bounded = std::min(*wait, 1e9);
            request->deadline = submitted + std::chrono::duration_cast<Clock::duration>(
                                                std::chrono::duration<double>(bounded));
            ++n_deadlines_;
        }
        add_sequences(*requests_.emplace(id, std::move(request)).first->second);
    } catch (const std::exception& error) {
        fail_request(id, ErrorCode::internal,
                     std::string("[engine] no room for the request: ") + error.what(), outputs);
    }
}

void Stepper::add_sequences(LiveRequest& request) {
    const RequestSpec& spec = request.spec;
    const std::uint64_t seed = spec.sampling.seed ? *spec.sampling.seed : random_word();
    std::vector<BlockKey> keys;
    BlockKey chain;
    if (spec.kind != RequestKind::embed) {
        chain = hasher_.root(spec.tenant);
        if (spec.adapter) {
            // No block of tokens begins so: adapters share nothing with each other nor with the bare model.
            const std::uint64_t serial = spec.adapter->serial;
            const std::int32_t mark[] = {-1, static_cast<std::int32_t>(serial),
                                         static_cast<std::int32_t>(serial >> 32)};
            chain = hasher_.next(chain, mark);
        }
        keys = hasher_.chain(chain, spec.prompt, scheduler_.key_tokens());
        if (!keys.empty()) chain = keys.back();
    }
    for (std::int64_t index = 0; index < spec.n; ++index) {
        auto added = std::make_unique<LiveSequence>(LiveSequence{
            .id = next_sequence_++,
            .request = request,
            .index = index,
            .sampler = Sampler(spec.sampling, child_seed(seed, static_cast<std::uint64_t>(index)),
                               ending_tokens(spec, vocabulary_, limits_.n_vocab), &vocabulary_),
            // A grammar is about every byte: there a first space stays.
            .text = TextStream(vocabulary_, spec.stop, !spec.guided && begins_text(vocabulary_, spec.prompt)),
            .tokens = spec.prompt,
            .chain = chain,
            .guess_length = GuessLength(guesses_),
            .guess_rate = speculation_.usual_rate()});
        added->sampler.observe_prompt(spec.prompt);
        const SequenceId id = added->id;
        sequences_.emplace(id, std::move(added));
        scheduler_.add(id, needs_of(spec), keys);
        request.live.push_back(id);
    }
}

void Stepper::cancel(std::uint64_t request, std::vector<Output>& outputs) {
    const auto found = requests_.find(request);
    if (found == requests_.end()) return;
    ++totals_.cancelled;
    count_waste(*found->second);
    const std::vector<SequenceId> live = found->second->live;
    for (const SequenceId id : live) {
        Output output;
        output.finish = FinishReason::cancelled;
        output.text = sequence(id).text.flush();
        end(sequence(id), std::move(output), outputs);
    }
}

void Stepper::count_waste(const LiveRequest& request) {
    for (const SequenceId id : request.live) {
        const LiveSequence& wasted = sequence(id);
        const std::int64_t reused = std::min(wasted.prompt_seen, scheduler_.reused_tokens(id));
        totals_.wasted_tokens += wasted.prompt_seen - reused + wasted.n_sampled();
    }
}

void Stepper::expire(Clock::time_point now, std::vector<Output>& outputs) {
    if (n_deadlines_ == 0) return;
    std::vector<std::uint64_t> late;
    for (const auto& [id, request] : requests_) {
        if (request->deadline && *request->deadline <= now) late.push_back(id);
    }
    for (const std::uint64_t id : late) {
        ++totals_.expired;
        count_waste(*requests_.at(id));
        fail_request(id, ErrorCode::deadline, "[engine] the request's deadline has passed", outputs);
    }
}

void Stepper::cancel_all(std::vector<Output>& outputs) {
    while (!requests_.empty()) cancel(requests_.begin()->first, outputs);
}

void Stepper::fail_all(const std::string& message, std::vector<Output>& outputs) {
    while (!requests_.empty()) fail_request(requests_.begin()->first, ErrorCode::internal, message, outputs);
}

void Stepper::fail_request(std::uint64_t request, ErrorCode code, const std::string& message,
                           std::vector<Output>& outputs) {
    const auto found = requests_.find(request);
    if (found == requests_.end()) return;
    ++totals_.failed;
    const std::vector<SequenceId> live = found->second->live;
    for (const SequenceId id : live) {
        Output output;
        output.finish = FinishReason::error;
        output.error_code = code;
        output.error_message = message;
        end(sequence(id), std::move(output), outputs);
    }
}

void Stepper::note_start(const StepEntry& entry, Clock::time_point began) {
    LiveSequence& active = sequence(entry.id);
    // One row that catches up is decoding, whatever it is called.
    if (scheduler_.cached_tokens(entry.id) + 1 < active.n_known()) step_prompt_rows_ += entry.n_tokens;
    if (active.first_step) return;
    active.first_step = began;
    totals_.cached_prompt_tokens += scheduler_.reused_tokens(entry.id);
}

void Stepper::step(std::vector<Output>& outputs) {
    const auto began = Clock::now();
    if (guesses_ > 0 || drafter_) guess();
    const std::vector<StepEntry> entries = scheduler_.schedule();
    if (entries.empty() && spilled_ != nullptr && spilled_->awaits_any()) {
        spilled_->wait_for_arrival(kLongestWait);
        return;
    }
    if (entries.empty()) fail(ErrorCode::internal, "engine", "nothing could be scheduled");
    step_prompt_rows_ = 0;
    for (const StepEntry& entry : entries) note_start(entry, began);
    const auto guarded = [&](std::span<const StepEntry> concerned, auto&& work) {
        ErrorCode code = ErrorCode::internal;
        std::string message;
        try {
            work();
            return;
        } catch (const Error& error) {
            code = error.code();
            message = error.what();
        } catch (const std::exception& error) {
            message = std::string("[engine] a step failed: ") + error.what();
        }
        for (const StepEntry& entry : concerned) {
            if (sequences_.contains(entry.id)) {
                fail_request(sequence(entry.id).request.spec.id, code, message, outputs);
            }
        }
    };
    std::span<const float> result;
    const auto ran = Clock::now();
    guarded(entries, [&] { result = run(entries); });
    if (drafter_ && step_prompt_rows_ == 0 && !result.empty()) {
        speculation_.model_cost().learn(static_cast<double>(rows_.n_rows()), seconds(Clock::now() - ran));
    }
    if (!result.empty()) draw_ahead(entries, result);
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (!sequences_.contains(entries[i].id)) continue;
        guarded({&entries[i], 1}, [&] {
            const std::int64_t width = sequence(entries[i].id).request.spec.kind == RequestKind::embed
                                           ? limits_.d_model
                                           : limits_.n_vocab;
            process(i, entries[i], rows_.result_of(i, result, width), outputs);
        });
    }
    ++totals_.steps;
    learn_pace(Clock::now() - began);
}

// Steps without decoding keep their size, so that a request alone is cut the same way every time.
void Stepper::learn_pace(Clock::duration took) {
    totals_.step_seconds += seconds(took);
    pace_.learn(seconds(took), step_prompt_rows_, rows_.n_rows() - step_prompt_rows_);
    scheduler_.limit_mixed_prompt(pace_.prompt_rows(scheduler_.prompts(), scheduler_.reads_brief_prompt()));
    if (spilled_ != nullptr) spilled_->learn_row_seconds(pace_.row_seconds());
}

// A prompt chunk wants the rows that were asked for, or the last one where it ends the prompt; a decode row
// its own.
std::int64_t Stepper::wanted_rows(const LiveSequence& sequence, std::int64_t n_tokens) const {
    const std::int64_t cached = scheduler_.cached_tokens(sequence.id);
    if (cached < sequence.n_prompt() && needs_of(sequence.request.spec).all_rows) return n_tokens;
    return std::max<std::int64_t>(0, cached + n_tokens + 1 - sequence.n_known());
}

// Asks for the masks of the sequences that will sample at the end of this step.
void Stepper::ask_guide(const std::vector<StepEntry>& entries) {
    guide_places_.assign(entries.size(), -1);
    if (!guide_) return;
    std::vector<GuideQuery> queries;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        LiveSequence& active = sequence(entries[i].id);
        const std::int64_t end = scheduler_.cached_tokens(active.id) + entries[i].n_tokens;
        if (!active.request.spec.guided || end < active.n_known()) continue;
        guide_places_[i] = static_cast<std::ptrdiff_t>(queries.size());
        queries.push_back({{active.request.spec.id, active.index}, std::exchange(active.unguided, -1)});
    }
    if (!queries.empty()) guide_->ask(std::move(queries));
}

std::span<const float> Stepper::run(const std::vector<StepEntry>& entries) {
    std::size_t stride = 0;
    for (const StepEntry& entry : entries) stride = std::max(stride, scheduler_.blocks(entry.id).size());
    rows_.begin(stride);
    for (const StepEntry& entry : entries) {
        LiveSequence& active = sequence(entry.id);
        const std::int64_t cached = scheduler_.cached_tokens(entry.id);
        // Guesses are in the list for this moment only.
        const std::int64_t n_guesses = std::max<std::int64_t>(0, cached + entry.n_tokens - active.n_known());
        active.guesses.resize(static_cast<std::size_t>(n_guesses));
        std::vector<std::int32_t> guessed;
        auto tokens = std::span<const std::int32_t>(active.tokens).subspan(static_cast<std::size_t>(cached));
        if (n_guesses > 0) {
            guessed.assign(tokens.begin(), tokens.end());
            guessed.insert(guessed.end(), active.guesses.begin(), active.guesses.end());
            tokens = guessed;
        }
        tokens = tokens.first(static_cast<std::size_t>(entry.n_tokens));
        const ServedAdapter* adapter = active.request.spec.adapter.get();
        rows_.add(tokens, cached, scheduler_.blocks(entry.id), wanted_rows(active, entry.n_tokens),
                  adapter == nullptr ? nullptr : adapter->lora.weights.get());
    }
    ask_guide(entries);
    const bool pooling = sequence(entries.front().id).request.spec.kind == RequestKind::embed;
    const Batch batch = rows_.batch();
    const std::span<const float> result = pooling ? runner_.hidden_states(batch) : runner_.forward(batch);
    const std::int64_t width = pooling ? limits_.d_model : limits_.n_vocab;
    if (static_cast<std::int64_t>(result.size()) < rows_.n_wanted() * width) {
        fail(ErrorCode::internal, "engine", "the model returned too few values");
    }
    return result;
}

// Waits for the guide's answer to this step, if it was asked about the entry.
Permission Stepper::permission_of(std::size_t place, const RequestSpec& spec) {
    const std::ptrdiff_t query = guide_places_[place];
    if (query < 0) return {};
    guide_->wait();
    const auto asked = static_cast<std::size_t>(query);
    if (const std::string& error = guide_->error(asked); !error.empty())
        throw Error(ErrorCode::grammar, error);
    return read_mask(guide_->mask(asked), limits_.n_vocab, spec, vocabulary_.end_tokens());
}

void Stepper::save_cache(Clock::duration longest) {
    if (spilled_ != nullptr) spilled_->save(scheduler_.pool().free_published(), Clock::now() + longest);
}

EngineStats Stepper::stats() const {
    EngineStats stats = totals_;
    stats.running = scheduler_.running();
    stats.waiting = scheduler_.waiting();
    stats.preemptions = scheduler_.preemptions();
    stats.kept_preemptions = scheduler_.kept_preemptions();
    if (spilled_ != nullptr) stats.spill = spilled_->stats();
    stats.kv_blocks_total = scheduler_.pool().capacity();
    stats.kv_blocks_free = scheduler_.pool().free_blocks();
    return stats;
}

}  // namespace llmcore
