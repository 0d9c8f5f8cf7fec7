// The engine without its thread: requests in, one step at a time, outputs out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/drafter.h"
#include "engine/guide_thread.h"
#include "engine/live_sequence.h"
#include "engine/model_runner.h"
#include "engine/output.h"
#include "engine/pace.h"
#include "engine/permission.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"
#include "engine/step_rows.h"
#include "sampling/sampler.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

struct EngineStats {
    std::int64_t running = 0;  // sequences
    std::int64_t waiting = 0;
    std::int64_t kv_blocks_total = 0;
    std::int64_t kv_blocks_free = 0;
    // Since the start:
    std::int64_t steps = 0;
    std::int64_t requests = 0;
    std::int64_t cancelled = 0;  // requests
    std::int64_t failed = 0;     // requests
    std::int64_t expired = 0;    // requests, past their deadline; among the failed ones too
    std::int64_t preemptions = 0;
    std::int64_t kept_preemptions = 0;  // of those: cached tokens were kept, not computed again
    SpillStats spill;
    std::int64_t prompt_tokens = 0;
    std::int64_t cached_prompt_tokens = 0;  // of those: found in the cache
    std::int64_t generated_tokens = 0;
    std::int64_t guessed_tokens = 0;         // by prompt lookup or a draft model
    std::int64_t accepted_tokens = 0;        // of those: right
    std::int64_t drafted_tokens = 0;         // of the guessed ones: by a draft model
    std::int64_t accepted_draft_tokens = 0;  // of those: right
    std::int64_t draft_failures = 0;         // steps whose guesses a draft model failed to make
    std::int64_t wasted_tokens = 0;  // run or sampled for requests that were cancelled or came too late
    double step_seconds = 0.0;
    double draft_seconds = 0.0;  // of those: in a draft model
};

struct StepperConfig {
    std::optional<double> mixed_step_seconds = {};  // as Pace takes it
    std::int64_t guesses = 0;          // tokens to guess by prompt lookup for a sequence in a step, at most
    std::int64_t draft_tokens = 0;     // the same by the draft model
    bool draft_adapts = true;          // fewer where that does not pay
    SpilledBlocks* spilled = nullptr;  // outlives the stepper; null: what leaves the pool is lost
};

class Stepper {
public:
    // runner and vocabulary must outlive it. guide: may be null; then no request may be guided. draft: the
    // model that guesses; may be null.
    Stepper(ModelRunner& runner, const Vocabulary& vocabulary, const SchedulerConfig& config,
            const StepperConfig& options, std::unique_ptr<TokenGuide> guide,
            std::unique_ptr<ModelRunner> draft = nullptr);

    using Clock = EngineClock;

    // `spec` must have passed check_request; its id must be new. Should memory run out, the request ends with
    // outputs "error".
    void add(RequestSpec spec, Clock::time_point submitted, std::vector<Output>& outputs);
    // Ends a request with outputs "cancelled"; unknown ids are passed over.
    void cancel(std::uint64_t request, std::vector<Output>& outputs);
    void cancel_all(std::vector<Output>& outputs);
    // Ends the requests whose deadline has passed with outputs "error".
    void expire(Clock::time_point now, std::vector<Output>& outputs);
    // Ends every request with outputs "error".
    void fail_all(const std::string& message, std::vector<Output>& outputs);

    bool has_work() const { return scheduler_.has_work(); }
    // Runs one step. What goes wrong in it ends the requests concerned with outputs "error"; others go on.
    void step(std::vector<Output>& outputs);

    // Where no request is left, tells the guide of those that ended.
    void rest() {
        if (guide_ && requests_.empty()) guide_->flush();
    }
    // At the end: the same, and waits until nothing of the engine's runs elsewhere.
    void settle() {
        rest();
        if (guide_) guide_->wait();
    }

    // After the last step: what is cached goes where the next process finds it, in that time.
    void save_cache(Clock::duration longest);

    EngineStats stats() const;

private:
    void add_sequences(LiveRequest& request);
    LiveSequence& sequence(SequenceId id) { return *sequences_.at(id); }
    std::span<const float> run(const std::vector<StepEntry>& entries);
    void learn_pace(Clock::duration took);
    void count_waste(const LiveRequest& request);
    void note_start(const StepEntry& entry, Clock::time_point began);
    std::int64_t wanted_rows(const LiveSequence& sequence, std::int64_t n_tokens) const;
    void process(std::size_t place, const StepEntry& entry, std::span<const float> rows,
                 std::vector<Output>& outputs);
    void guess();
    void draft(std::span<LiveSequence* const> guessing, std::int64_t n_decoding);
    std::vector<Drafter::Wish> draft_wishes(std::span<LiveSequence* const> guessing, std::int64_t n_decoding);
    void learn_guesses(LiveSequence* sequence, bool drafted, std::size_t guessed, std::size_t right);
    void draw_ahead(const std::vector<StepEntry>& entries, std::span<const float> result);
    static Draw draw_from(LiveSequence& sequence, std::span<const float> logits, const Permission& permission,
                          SamplingScratch& scratch);
    void sample_rows(LiveSequence& sequence, std::size_t place, std::span<const float> rows,
                     std::vector<Output>& outputs);
    void ask_guide(const std::vector<StepEntry>& entries);
    Permission permission_of(std::size_t place, const RequestSpec& spec);
    void collect_prompt_logprobs(LiveSequence& sequence, std::int64_t first, std::span<const float> rows);
    void collect_values(LiveSequence& sequence, std::span<const float> rows);
    // The token, or nothing where the sequence ended (and is gone).
    std::optional<std::int32_t> sample(LiveSequence& sequence, const Permission& permission,
                                       std::span<const float> logits, std::vector<Output>& outputs);
    void append_token(LiveSequence& sequence);
    void end_text(LiveSequence& sequence, FinishReason reason, Output output, std::vector<Output>& outputs);
    FinishReason finish_reason(const LiveSequence& sequence, bool ended) const;
    bool ends_text(const RequestSpec& spec, std::int32_t token) const;
    void end_values(LiveSequence& sequence, std::vector<Output>& outputs);
    void end(LiveSequence& sequence, Output output, std::vector<Output>& outputs);
    void fail_request(std::uint64_t request, ErrorCode code, const std::string& message,
                      std::vector<Output>& outputs);

    ModelRunner& runner_;
    const Vocabulary& vocabulary_;
    RunnerLimits limits_;
    SpilledBlocks* spilled_;
    Scheduler scheduler_;
    SequenceId next_sequence_ = 1;
    std::unordered_map<std::uint64_t, std::unique_ptr<LiveRequest>> requests_;
    std::unordered_map<SequenceId, std::unique_ptr<LiveSequence>> sequences_;
    StepRows rows_;
    std::optional<GuideThread> guide_;
    std::vector<std::ptrdiff_t> guide_places_;  // by entry of the step: its query, or -1
    ThreadPool* threads_;                       // of the runner; may be null
    std::vector<SamplingScratch> scratches_;    // one a thread
    const std::int64_t guesses_;
    std::unique_ptr<Drafter> drafter_;
    Speculation speculation_;
    int draft_failures_in_row_ = 0;
    Pace pace_;
    BlockHasher hasher_;
    std::size_t n_deadlines_ = 0;
    std::int64_t step_prompt_rows_ = 0;
    EngineStats totals_;
};

}  // namespace llmcore
