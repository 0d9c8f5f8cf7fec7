// Chooses the next token of one sequence. Order: logit bias, penalties, then greedy, or temperature,
// top-n-sigma, top-k, typical, top-p, min-p, XTC and one seeded draw; Mirostat stands in for these filters.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "sampling/dry.h"
#include "sampling/params.h"
#include "sampling/ranked.h"
#include "sampling/scanned_row.h"

namespace llmcore {

// Buffers the size of the vocabulary, shared by the samplers of a thread.
struct SamplingScratch {
    ScannedRow row;
    std::vector<float> adjusted;
    std::vector<Candidate> candidates;
};

class Sampler {
public:
    // end_tokens: those `min_tokens` holds back. `params` must have passed check_sampling_params.
    // vocabulary: where the DRY penalty looks for its breakers; must outlive the sampler.
    Sampler(SamplingParams params, std::uint64_t seed, std::vector<std::int32_t> end_tokens,
            const Vocabulary* vocabulary = nullptr);

    // Tells of the prompt, for the penalties.
    void observe_prompt(std::span<const std::int32_t> tokens);

    // The next token, of those whose bit is set in `allowed` (bit t % 32 of word t / 32) unless it is empty.
    // Throws Error(model) if the logits hold a NaN or +infinity, or leave no token possible.
    std::int32_t next(std::span<const float> logits, SamplingScratch& scratch,
                      std::span<const std::uint32_t> allowed = {});

    std::int64_t sampled() const { return n_sampled_; }

private:
    bool adjusts() const;
    void adjust(std::span<float> logits);
    std::int32_t draw(SamplingScratch& scratch) const;
    bool ranks() const;
    std::int32_t draw_ranked(std::span<const float> logits, SamplingScratch& scratch);
    Cutoff filter(ScannedRow& row, std::vector<Candidate>& candidates, float inv_temperature) const;
    void count(std::int32_t token, std::int32_t in_output);

    SamplingParams params_;
    std::uint64_t seed_;
    std::vector<std::int32_t> end_tokens_;
    bool penalizes_ = false;
    DryPenalty dry_;
    Mirostat mirostat_;
    // Tokens of the prompt and the output, each once. Empty unless a penalty needs it.
    struct Seen {
        std::int32_t token = 0;
        std::int32_t in_output = 0;  // occurrences
    };
    std::vector<Seen> seen_;
    std::unordered_map<std::int32_t, std::size_t> seen_places_;
    std::int64_t n_sampled_ = 0;
};

// The log-probability of `token` and of the n_top likeliest tokens. Throws as Sampler::next does.
TokenLogprobs compute_logprobs(std::span<const float> logits, std::int32_t token, int n_top,
                               SamplingScratch& scratch);

}  // namespace llmcore
