// What comes out of the engine: one record a step and sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "sampling/params.h"

namespace llmcore {

enum class FinishReason : std::uint8_t { none, stop, length, cancelled, error };

struct Output {
    std::uint64_t request = 0;
    std::int64_t index = 0;  // of the sequence in its request
    std::string text;        // whole characters; may be empty while some are held back
    std::vector<std::int32_t> tokens;
    std::vector<TokenLogprobs> logprobs;  // one a token, if asked for
    // With the first sampled token, if asked for: of the prompt's second token and on.
    std::optional<std::vector<TokenLogprobs>> prompt_logprobs;
    FinishReason finish = FinishReason::none;
    bool request_done = false;  // the last record of the request

    // With a finish reason:
    std::int64_t prompt_tokens = 0;
    std::int64_t cached_tokens = 0;      // of the prompt: keys and values were there already
    std::int64_t completion_tokens = 0;  // sampled ones, the one that ended the text included
    std::optional<double> logprob_sum;   // of RequestSpec::score
    double queue_seconds = 0.0;          // from submission to the first step
    double first_token_seconds = 0.0;    // from submission
    double total_seconds = 0.0;
    std::vector<float> values;  // logits: [prompt_tokens][n_vocab]; embed: [d_model]
    ErrorCode error_code = ErrorCode::internal;
    std::string error_message;
};

}  // namespace llmcore
