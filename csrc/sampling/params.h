// What a request asks of the sampler.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace llmcore {

struct LogitBias {
    std::int32_t token = 0;
    float bias = 0.0F;
};

struct DryParams {
    float multiplier = 0.0F;  // 0: off
    float base = 1.75F;
    std::int64_t allowed_length = 2;
    std::int64_t range = 0;  // of the last tokens, so many; 0: all
    std::vector<std::string> breakers;
};

struct MirostatParams {
    int version = 0;  // 0: off; 1, 2
    float tau = 5.0F;
    float eta = 0.1F;
};

struct SamplingParams {
    float temperature = 1.0F;      // 0: greedy
    std::int64_t top_k = 0;        // 0: off
    float top_p = 1.0F;            // 1: off
    float min_p = 0.0F;            // 0: off
    float typical_p = 1.0F;        // 1: off
    float top_n_sigma = 0.0F;      // 0: off
    float xtc_probability = 0.0F;  // 0: off
    float xtc_threshold = 0.1F;
    MirostatParams mirostat = {};  // instead of the other filters
    DryParams dry = {};
    std::optional<std::uint64_t> seed;
    float repetition_penalty = 1.0F;  // over prompt and output (Keskar et al. 2019)
    float frequency_penalty = 0.0F;   // per occurrence in the output
    float presence_penalty = 0.0F;    // once, if in the output
    std::vector<LogitBias> logit_bias;
    std::int64_t min_tokens = 0;  // no end token before that many
    std::optional<int> logprobs;  // likeliest tokens to report with each sampled one
};

// Throws Error(invalid_argument) that names the parameter out of range.
void check_sampling_params(const SamplingParams& params, std::int64_t n_vocab);

// Log-probabilities are of the model's own distribution, before bias, penalties, temperature and filters.
struct TokenLogprob {
    std::int32_t token = 0;
    float logprob = 0.0F;
};

struct TokenLogprobs {
    TokenLogprob chosen;
    std::vector<TokenLogprob> top;  // likeliest first
};

}  // namespace llmcore
