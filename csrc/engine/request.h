// What goes into the engine.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/lora_shelf.h"
#include "engine/scheduler.h"
#include "model/pooling.h"
#include "sampling/params.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

enum class RequestKind : std::uint8_t {
    generate,
    logits,  // the logits of every prompt row
    embed,   // one vector of the prompt's final normalized hidden states
};

struct RequestSpec {
    std::uint64_t id = 0;  // chosen by the caller; unique among live requests
    RequestKind kind = RequestKind::generate;
    std::vector<std::int32_t> prompt;
    std::optional<Pooling> pooling;  // of embed; none: the model's own
    SamplingParams sampling;
    std::int64_t max_tokens = 128;
    std::int64_t n = 1;  // sequences, each with its own seed
    std::vector<std::string> stop;
    std::vector<std::int32_t> stop_token_ids;
    bool ignore_eos = false;
    bool guided = false;  // the engine's TokenGuide says which tokens may come
    std::optional<int> prompt_logprobs;
    bool score = false;         // sum up the log-probabilities of the sampled tokens
    std::int64_t priority = 0;  // lower runs earlier
    std::string lora;           // the name of an adapter; empty: none
    std::string tenant;         // whose it is: cached prefixes are shared, and steps divided, by tenant
    std::optional<double> deadline_seconds;  // from submission; then the request ends with an error
    std::shared_ptr<const ServedAdapter> adapter = {};  // of the name in `lora`; the engine fills it in
};

// Refuses what can never run: Error(context_length) or Error(invalid_argument).
void check_request(const RequestSpec& spec, const SchedulerConfig& config, std::int64_t n_vocab);

// What each of its sequences asks of the scheduler.
SequenceNeeds needs_of(const RequestSpec& spec);

// The tokens that end its text, of those the model scores.
std::vector<std::int32_t> ending_tokens(const RequestSpec& spec, const Vocabulary& vocabulary,
                                        std::int64_t n_vocab);

}  // namespace llmcore
