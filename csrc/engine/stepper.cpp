#include "engine/stepper.h"

#include <algorithm>
#include <exception>
#include <random>
#include <utility>

#include "base/error.h"
#include "sampling/random.h"

namespace llmcore {

namespace {

constexpr std::int64_t kMaxSequences = 1024;
constexpr double kMixedStepSeconds = 0.15;
constexpr int kPaceRows = 16;  // smaller steps say little about the cost of a prompt row

double seconds(Stepper::Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::uint64_t random_seed() {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
}

SequenceNeeds needs_of(const RequestSpec& spec) {
    const bool generates = spec.kind == RequestKind::generate;
    return {.n_prompt = static_cast<std::int64_t>(spec.prompt.size()),
            .max_new_tokens = generates ? spec.max_tokens : 0,
            .all_rows = !generates || spec.prompt_logprobs.has_value(),
            .pooling = spec.kind == RequestKind::embed,
            .priority = spec.priority};
}

void check_tokens(const std::vector<std::int32_t>& tokens, std::int64_t n_vocab, const char* what) {
    for (const std::int32_t token : tokens) {
        if (token < 0 || token >= n_vocab) {
            fail(ErrorCode::invalid_argument, "engine", what, std::to_string(token),
                 "0 to " + std::to_string(n_vocab - 1));
        }
    }
}

void check_count(std::int64_t value, std::int64_t least, std::int64_t most, const char* what) {
    if (value < least || value > most) {
        fail(ErrorCode::invalid_argument, "engine", what, std::to_string(value),
             std::to_string(least) + " to " + std::to_string(most));
    }
}

// The tokens that min_tokens holds back.
std::vector<std::int32_t> ending_tokens(const RequestSpec& spec, const Vocabulary& vocabulary,
                                        std::int64_t n_vocab) {
    std::vector<std::int32_t> tokens = spec.stop_token_ids;
    if (!spec.ignore_eos) {
        for (const std::int32_t token : vocabulary.end_tokens()) {
            if (token >= 0 && token < n_vocab) tokens.push_back(token);
        }
    }
    return tokens;
}

}  // namespace

Stepper::Stepper(ModelRunner& runner, const Vocabulary& vocabulary, const SchedulerConfig& config)
    : runner_(runner), vocabulary_(vocabulary), limits_(runner.limits()), scheduler_(config) {}

void Stepper::check(const RequestSpec& spec, const SchedulerConfig& config, std::int64_t n_vocab) {
    check_tokens(spec.prompt, n_vocab, "prompt token out of range");
    check_tokens(spec.stop_token_ids, n_vocab, "stop_token_ids out of range");
    check_count(spec.n, 1, kMaxSequences, "n");
    if (spec.kind == RequestKind::generate) check_count(spec.max_tokens, 1, INT64_C(1) << 40, "max_tokens");
    check_count(spec.prompt_logprobs.value_or(0), 0, 1000, "prompt_logprobs");
    check_sampling_params(spec.sampling, n_vocab);
    Scheduler::check_fits(config, needs_of(spec));
}

void Stepper::add(RequestSpec spec, Clock::time_point submitted, std::vector<Output>& outputs) {
    const std::uint64_t id = spec.id;
    ++totals_.requests;
    try {
        auto request = std::make_unique<Request>(Request{std::move(spec), submitted, {}});
        add_sequences(*requests_.emplace(id, std::move(request)).first->second);
    } catch (const std::exception& error) {
        fail_request(id, ErrorCode::internal,
                     std::string("[engine] no room for the request: ") + error.what(), outputs);
    }
}

void Stepper::add_sequences(Request& request) {
    const RequestSpec& spec = request.spec;
    const std::uint64_t seed = spec.sampling.seed ? *spec.sampling.seed : random_seed();
    for (std::int64_t index = 0; index < spec.n; ++index) {
        auto added = std::make_unique<Sequence>(
            Sequence{.id = next_sequence_++,
                     .request = request,
                     .index = index,
                     .sampler = Sampler(spec.sampling, child_seed(seed, static_cast<std::uint64_t>(index)),
                                        ending_tokens(spec, vocabulary_, limits_.n_vocab)),
                     .text = TextStream(vocabulary_, spec.stop, begins_text(vocabulary_, spec.prompt)),
                     .tokens = spec.prompt,
                     .first_step = std::nullopt,
                     .first_token = std::nullopt,
                     .prompt_logprobs = {},
                     .values = {},
                     .pooled = {}});
        added->sampler.observe_prompt(spec.prompt);
        const SequenceId id = added->id;
        sequences_.emplace(id, std::move(added));
        scheduler_.add(id, needs_of(spec));
        request.live.push_back(id);
    }
}

void Stepper::cancel(std::uint64_t request, std::vector<Output>& outputs) {
    const auto found = requests_.find(request);
    if (found == requests_.end()) return;
    ++totals_.cancelled;
    const std::vector<SequenceId> live = found->second->live;
    for (const SequenceId id : live) {
        Output output;
        output.finish = FinishReason::cancelled;
        output.text = sequence(id).text.flush();
        end(sequence(id), std::move(output), outputs);
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

void Stepper::step(std::vector<Output>& outputs) {
    const auto began = Clock::now();
    const std::vector<StepEntry> entries = scheduler_.schedule();
    if (entries.empty()) fail(ErrorCode::internal, "engine", "nothing could be scheduled");
    for (const StepEntry& entry : entries) {
        auto& first_step = sequence(entry.id).first_step;
        if (!first_step) first_step = began;
    }
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
    guarded(entries, [&] { result = run(entries); });
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if (!sequences_.contains(entries[i].id)) continue;
        guarded({&entries[i], 1}, [&] {
            const std::int64_t width = sequence(entries[i].id).request.spec.kind == RequestKind::embed
                                           ? limits_.d_model
                                           : limits_.n_vocab;
            const std::int64_t begin = rows_.result_starts[i] * width;
            const std::int64_t end = rows_.result_starts[i + 1] * width;
            process(entries[i],
                    result.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
                    outputs);
        });
    }
    ++totals_.steps;
    learn_pace(Clock::now() - began);
}

// Steps that mix prompt rows with decoding are to take about kMixedStepSeconds. Steps without decoding keep
// their size, so that a request alone is cut the same way every time and gives the same bits.
void Stepper::learn_pace(Clock::duration took) {
    totals_.step_seconds += seconds(took);
    const auto n_rows = static_cast<double>(rows_.tokens.size());
    if (n_rows < kPaceRows) return;
    const double per_row = seconds(took) / n_rows;
    row_seconds_ = row_seconds_ == 0.0 ? per_row : 0.7 * row_seconds_ + 0.3 * per_row;
    const double n_tokens = std::min(1e6, kMixedStepSeconds / std::max(row_seconds_, 1e-9));
    scheduler_.limit_mixed_prompt(std::max<std::int64_t>(kPaceRows, static_cast<std::int64_t>(n_tokens)));
}

// A prompt chunk wants the rows that were asked for, or the last one where it ends the prompt; a decode row
// its own.
std::int64_t Stepper::wanted_rows(const Sequence& sequence, std::int64_t n_tokens) const {
    const std::int64_t cached = scheduler_.cached_tokens(sequence.id);
    if (cached < sequence.n_prompt() && needs_of(sequence.request.spec).all_rows) return n_tokens;
    return cached + n_tokens == static_cast<std::int64_t>(sequence.tokens.size()) ? 1 : 0;
}

Batch Stepper::assemble(const std::vector<StepEntry>& entries) {
    StepRows& rows = rows_;
    for (auto* list : {&rows.tokens, &rows.positions, &rows.row_starts, &rows.kv_lens, &rows.block_table,
                       &rows.logit_rows}) {
        list->clear();
    }
    std::size_t stride = 0;
    for (const StepEntry& entry : entries) stride = std::max(stride, scheduler_.blocks(entry.id).size());
    rows.row_starts.push_back(0);
    rows.result_starts.assign(1, 0);
    for (const StepEntry& entry : entries) {
        const Sequence& active = sequence(entry.id);
        const auto cached = static_cast<std::int32_t>(scheduler_.cached_tokens(entry.id));
        const auto n_tokens = static_cast<std::int32_t>(entry.n_tokens);
        for (std::int32_t i = 0; i < n_tokens; ++i) {
            rows.tokens.push_back(active.tokens[static_cast<std::size_t>(cached + i)]);
            rows.positions.push_back(cached + i);
        }
        const auto end = static_cast<std::int32_t>(rows.tokens.size());
        rows.row_starts.push_back(end);
        rows.kv_lens.push_back(cached + n_tokens);
        const auto wanted = static_cast<std::int32_t>(wanted_rows(active, entry.n_tokens));
        for (std::int32_t row = end - wanted; row < end; ++row) rows.logit_rows.push_back(row);
        rows.result_starts.push_back(static_cast<std::int64_t>(rows.logit_rows.size()));
        const auto blocks = scheduler_.blocks(entry.id);
        rows.block_table.insert(rows.block_table.end(), blocks.begin(), blocks.end());
        rows.block_table.resize(stride * (rows.row_starts.size() - 1), 0);
    }
    return {.tokens = rows.tokens,
            .positions = rows.positions,
            .row_starts = rows.row_starts,
            .kv_lens = rows.kv_lens,
            .block_table = rows.block_table,
            .block_table_stride = static_cast<std::int64_t>(stride),
            .logit_rows = rows.logit_rows};
}

std::span<const float> Stepper::run(const std::vector<StepEntry>& entries) {
    const bool pooling = sequence(entries.front().id).request.spec.kind == RequestKind::embed;
    const Batch batch = assemble(entries);
    const std::span<const float> result = pooling ? runner_.hidden_states(batch) : runner_.forward(batch);
    const std::size_t width = static_cast<std::size_t>(pooling ? limits_.d_model : limits_.n_vocab);
    if (result.size() < rows_.logit_rows.size() * width) {
        fail(ErrorCode::internal, "engine", "the model returned too few values");
    }
    return result;
}

void Stepper::process(const StepEntry& entry, std::span<const float> rows, std::vector<Output>& outputs) {
    Sequence& active = sequence(entry.id);
    const std::int64_t first = scheduler_.cached_tokens(entry.id);
    scheduler_.advance(entry.id, entry.n_tokens);
    const std::int64_t seen = std::min(first + entry.n_tokens, active.n_prompt());
    if (seen > active.prompt_seen) totals_.prompt_tokens += seen - std::exchange(active.prompt_seen, seen);
    const bool caught_up = first + entry.n_tokens == static_cast<std::int64_t>(active.tokens.size());
    if (active.request.spec.kind != RequestKind::generate) {
        collect_values(active, rows);
        if (caught_up) end_values(active, outputs);
        return;
    }
    if (active.request.spec.prompt_logprobs && first < active.n_prompt()) {
        collect_prompt_logprobs(active, first, rows);
    }
    if (caught_up) sample(active, rows.last(static_cast<std::size_t>(limits_.n_vocab)), outputs);
}

void Stepper::collect_prompt_logprobs(Sequence& sequence, std::int64_t first, std::span<const float> rows) {
    const auto n_vocab = static_cast<std::size_t>(limits_.n_vocab);
    for (std::size_t i = 0; i < rows.size() / n_vocab; ++i) {
        const std::size_t next = static_cast<std::size_t>(first) + i + 1;
        if (next >= sequence.request.spec.prompt.size()) return;
        sequence.prompt_logprobs.push_back(
            compute_logprobs(rows.subspan(i * n_vocab, n_vocab), sequence.tokens[next],
                             *sequence.request.spec.prompt_logprobs, scratch_));
    }
}

void Stepper::collect_values(Sequence& sequence, std::span<const float> rows) {
    if (sequence.request.spec.kind == RequestKind::logits) {
        sequence.values.insert(sequence.values.end(), rows.begin(), rows.end());
        return;
    }
    const auto width = static_cast<std::size_t>(limits_.d_model);
    sequence.pooled.resize(width);
    for (std::size_t i = 0; i < rows.size(); ++i) sequence.pooled[i % width] += static_cast<double>(rows[i]);
}

void Stepper::end_values(Sequence& sequence, std::vector<Output>& outputs) {
    Output output;
    output.finish = FinishReason::stop;
    output.values = std::move(sequence.values);
    for (const double sum : sequence.pooled) {
        output.values.push_back(static_cast<float>(sum / static_cast<double>(sequence.n_prompt())));
    }
    end(sequence, std::move(output), outputs);
}

bool Stepper::ends_text(const RequestSpec& spec, std::int32_t token) const {
    if (std::find(spec.stop_token_ids.begin(), spec.stop_token_ids.end(), token) !=
        spec.stop_token_ids.end()) {
        return true;
    }
    return !spec.ignore_eos && token < vocabulary_.size() && vocabulary_.ends_generation(token);
}

FinishReason Stepper::finish_reason(const Sequence& sequence, bool ended) const {
    if (ended || sequence.text.stopped()) return FinishReason::stop;
    const bool full = static_cast<std::int64_t>(sequence.tokens.size()) >= scheduler_.config().n_ctx;
    return full || sequence.n_sampled() >= sequence.request.spec.max_tokens ? FinishReason::length
                                                                            : FinishReason::none;
}

void Stepper::sample(Sequence& sequence, std::span<const float> logits, std::vector<Output>& outputs) {
    const RequestSpec& spec = sequence.request.spec;
    const std::int32_t token = sequence.sampler.next(logits, scratch_);
    if (!sequence.first_token) sequence.first_token = Clock::now();
    sequence.tokens.push_back(token);
    ++totals_.generated_tokens;

    Output output;
    if (spec.prompt_logprobs && sequence.n_sampled() == 1) {
        output.prompt_logprobs = std::move(sequence.prompt_logprobs);
    }
    TokenLogprobs logprobs;
    if (spec.score || spec.sampling.logprobs) {
        logprobs = compute_logprobs(logits, token, spec.sampling.logprobs.value_or(0), scratch_);
        sequence.logprob_sum += static_cast<double>(logprobs.chosen.logprob);
    }
    const bool ended = ends_text(spec, token);
    if (!ended) {
        output.tokens.push_back(token);
        if (spec.sampling.logprobs) output.logprobs.push_back(std::move(logprobs));
        output.text = sequence.text.push(token, sequence.n_sampled() >= spec.sampling.min_tokens);
    }
    output.finish = finish_reason(sequence, ended);
    if (output.finish == FinishReason::none) {
        scheduler_.append_token(sequence.id);
        output.request = spec.id;
        output.index = sequence.index;
        outputs.push_back(std::move(output));
        return;
    }
    output.text += sequence.text.flush();
    end(sequence, std::move(output), outputs);
}

void Stepper::end(Sequence& sequence, Output output, std::vector<Output>& outputs) {
    Request& request = sequence.request;
    const auto now = Clock::now();
    const auto since = [&](const std::optional<Clock::time_point>& point) {
        return seconds(point.value_or(now) - request.submitted);
    };
    output.request = request.spec.id;
    output.index = sequence.index;
    output.prompt_tokens = sequence.n_prompt();
    output.completion_tokens = sequence.n_sampled();
    if (request.spec.score) output.logprob_sum = sequence.logprob_sum;
    output.queue_seconds = since(sequence.first_step);
    output.first_token_seconds = since(sequence.first_token);
    output.total_seconds = since(now);

    const SequenceId id = sequence.id;
    scheduler_.finish(id);
    request.live.erase(std::find(request.live.begin(), request.live.end(), id));
    output.request_done = request.live.empty();
    outputs.push_back(std::move(output));
    const std::uint64_t request_id = request.spec.id;
    sequences_.erase(id);
    if (outputs.back().request_done) requests_.erase(request_id);
}

EngineStats Stepper::stats() const {
    EngineStats stats = totals_;
    stats.running = scheduler_.running();
    stats.waiting = scheduler_.waiting();
    stats.preemptions = scheduler_.preemptions();
    stats.kv_blocks_total = scheduler_.pool().capacity();
    stats.kv_blocks_free = scheduler_.pool().free_blocks();
    return stats;
}

}  // namespace llmcore
