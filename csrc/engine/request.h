// What goes into the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sampling/params.h"

namespace llmcore {

enum class RequestKind : std::uint8_t {
    generate,
    logits,  // the logits of every prompt row
    embed,   // the mean over the prompt's final normalized hidden states
};

struct RequestSpec {
    std::uint64_t id = 0;  // chosen by the caller; unique among live requests
    RequestKind kind = RequestKind::generate;
    std::vector<std::int32_t> prompt;
    SamplingParams sampling;
    std::int64_t max_tokens = 128;
    std::int64_t n = 1;  // sequences, each with its own seed
    std::vector<std::string> stop;
    std::vector<std::int32_t> stop_token_ids;
    bool ignore_eos = false;
    std::optional<int> prompt_logprobs;
    bool score = false;         // sum up the log-probabilities of the sampled tokens
    std::int64_t priority = 0;  // lower runs earlier
};

}  // namespace llmcore
