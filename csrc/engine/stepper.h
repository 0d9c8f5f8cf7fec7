// The engine without its thread: requests in, one step at a time, outputs out.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/model_runner.h"
#include "engine/output.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/text_stream.h"
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
    std::int64_t preemptions = 0;
    std::int64_t prompt_tokens = 0;
    std::int64_t generated_tokens = 0;
    double step_seconds = 0.0;
};

class Stepper {
public:
    // runner and vocabulary must outlive it.
    Stepper(ModelRunner& runner, const Vocabulary& vocabulary, const SchedulerConfig& config);

    // Refuses what can never run: Error(context_length) or Error(invalid_argument). Touches no state.
    static void check(const RequestSpec& spec, const SchedulerConfig& config, std::int64_t n_vocab);

    using Clock = std::chrono::steady_clock;

    // `spec` must have passed check; its id must be new. Should memory run out, the request ends with outputs
    // "error".
    void add(RequestSpec spec, Clock::time_point submitted, std::vector<Output>& outputs);
    // Ends a request with outputs "cancelled"; unknown ids are passed over.
    void cancel(std::uint64_t request, std::vector<Output>& outputs);
    void cancel_all(std::vector<Output>& outputs);
    // Ends every request with outputs "error".
    void fail_all(const std::string& message, std::vector<Output>& outputs);

    bool has_work() const { return scheduler_.has_work(); }
    // Runs one step. What goes wrong in it ends the requests concerned with outputs "error"; others go on.
    void step(std::vector<Output>& outputs);

    EngineStats stats() const;

private:
    struct Request {
        RequestSpec spec;
        Clock::time_point submitted;
        std::vector<SequenceId> live;
    };
    struct Sequence {
        SequenceId id;
        Request& request;
        std::int64_t index;
        Sampler sampler;
        TextStream text;
        std::vector<std::int32_t> tokens;  // prompt and sampled
        std::optional<Clock::time_point> first_step;
        std::optional<Clock::time_point> first_token;
        std::int64_t prompt_seen = 0;  // prompt tokens run at least once
        double logprob_sum = 0.0;
        std::vector<TokenLogprobs> prompt_logprobs;
        std::vector<float> values;
        std::vector<double> pooled;

        std::int64_t n_prompt() const { return static_cast<std::int64_t>(request.spec.prompt.size()); }
        std::int64_t n_sampled() const { return static_cast<std::int64_t>(tokens.size()) - n_prompt(); }
    };
    // The step under way, in the form Batch wants.
    struct StepRows {
        std::vector<std::int32_t> tokens, positions, row_starts, kv_lens, block_table, logit_rows;
        std::vector<std::int64_t>
            result_starts;  // [n_entries + 1]: where in the result each entry's rows are
    };

    void add_sequences(Request& request);
    Sequence& sequence(SequenceId id) { return *sequences_.at(id); }
    std::span<const float> run(const std::vector<StepEntry>& entries);
    void learn_pace(Clock::duration took);
    Batch assemble(const std::vector<StepEntry>& entries);
    std::int64_t wanted_rows(const Sequence& sequence, std::int64_t n_tokens) const;
    void process(const StepEntry& entry, std::span<const float> rows, std::vector<Output>& outputs);
    void collect_prompt_logprobs(Sequence& sequence, std::int64_t first, std::span<const float> rows);
    void collect_values(Sequence& sequence, std::span<const float> rows);
    void sample(Sequence& sequence, std::span<const float> logits, std::vector<Output>& outputs);
    FinishReason finish_reason(const Sequence& sequence, bool ended) const;
    bool ends_text(const RequestSpec& spec, std::int32_t token) const;
    void end_values(Sequence& sequence, std::vector<Output>& outputs);
    void end(Sequence& sequence, Output output, std::vector<Output>& outputs);
    void fail_request(std::uint64_t request, ErrorCode code, const std::string& message,
                      std::vector<Output>& outputs);

    ModelRunner& runner_;
    const Vocabulary& vocabulary_;
    RunnerLimits limits_;
    Scheduler scheduler_;
    SequenceId next_sequence_ = 1;
    std::unordered_map<std::uint64_t, std::unique_ptr<Request>> requests_;
    std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
    StepRows rows_;
    SamplingScratch scratch_;
    double row_seconds_ = 0.0;  // of a prompt row, lately
    EngineStats totals_;
};

}  // namespace llmcore
