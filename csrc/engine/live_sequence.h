// What the engine keeps of a request and of each of its sequences while they live.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include "cache/block_key.h"
#include "engine/prompt_lookup.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/text_stream.h"
#include "sampling/sampler.h"

namespace llmcore {

using EngineClock = std::chrono::steady_clock;

struct LiveRequest {
    RequestSpec spec;
    EngineClock::time_point submitted;
    std::optional<EngineClock::time_point> deadline;
    std::vector<SequenceId> live;
};

// What a row of logits gives: a token or an error.
struct Draw {
    std::int32_t token = 0;
    TokenLogprobs logprobs = {};  // if they are wanted
    std::exception_ptr error = {};
};

struct LiveSequence {
    SequenceId id;
    LiveRequest& request;
    std::int64_t index;
    Sampler sampler;
    TextStream text;
    std::vector<std::int32_t> tokens = {};  // prompt and sampled
    std::optional<EngineClock::time_point> first_step = {};
    std::optional<EngineClock::time_point> first_token = {};
    BlockKey chain = {};           // the last of the keys of `tokens`
    std::int64_t prompt_seen = 0;  // prompt tokens run at least once
    std::int32_t unguided = -1;    // the sampled token that the guide has not been told of yet
    GuessLength guess_length;
    std::vector<std::int32_t> guesses = {};  // tokens that may follow `tokens`, in the step under way
    bool drafted = false;                    // they are the draft model's
    double guess_rate = 0.0;                 // how often those were right, lately
    std::optional<Draw> draw = {};           // of the step under way, where it was made ahead
    double logprob_sum = 0.0;
    std::vector<TokenLogprobs> prompt_logprobs = {};
    std::vector<float> values = {};
    std::vector<double> pooled = {};

    std::int64_t n_prompt() const { return static_cast<std::int64_t>(request.spec.prompt.size()); }
    std::int64_t n_known() const { return static_cast<std::int64_t>(tokens.size()); }
    std::int64_t n_sampled() const { return n_known() - n_prompt(); }
};

}  // namespace llmcore
