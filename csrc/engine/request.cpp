#include "engine/request.h"

#include <algorithm>
#include <functional>
#include <string>

#include "base/error.h"

namespace llmcore {

namespace {

constexpr std::int64_t kMaxSequences = 1024;

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

}  // namespace

SequenceNeeds needs_of(const RequestSpec& spec) {
    const bool generates = spec.kind == RequestKind::generate;
    return {.n_prompt = static_cast<std::int64_t>(spec.prompt.size()),
            .max_new_tokens = generates ? spec.max_tokens : 0,
            .all_rows = !generates || spec.prompt_logprobs.has_value(),
            .pooling = spec.kind == RequestKind::embed,
            .priority = spec.priority,
            .tenant = std::hash<std::string>{}(spec.tenant)};
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

void check_request(const RequestSpec& spec, const SchedulerConfig& config, std::int64_t n_vocab) {
    check_tokens(spec.prompt, n_vocab, "prompt token out of range");
    check_tokens(spec.stop_token_ids, n_vocab, "stop_token_ids out of range");
    check_count(spec.n, 1, kMaxSequences, "n");
    if (spec.kind == RequestKind::generate) check_count(spec.max_tokens, 1, INT64_C(1) << 40, "max_tokens");
    check_count(spec.prompt_logprobs.value_or(0), 0, 1000, "prompt_logprobs");
    if (spec.deadline_seconds && !(*spec.deadline_seconds > 0.0)) {
        fail(ErrorCode::invalid_argument, "engine", "deadline", std::to_string(*spec.deadline_seconds),
             "seconds above 0");
    }
    check_sampling_params(spec.sampling, n_vocab);
    Scheduler::check_fits(config, needs_of(spec));
}

}  // namespace llmcore
