// Filters over tokens ranked by probability, for those that the one-pass filters of the sampler cannot do.
#pragma once

#include <cstdint>
#include <vector>

#include "sampling/params.h"
#include "sampling/scanned_row.h"

namespace llmcore {

struct Ranked {
    std::int32_t token = 0;
    float logit = 0.0F;
    double probability = 0.0;
};

// Softmax of the candidates' values / temperature, likeliest first; equal ones by token.
std::vector<Ranked> rank(const std::vector<Candidate>& candidates, float inv_temperature);

// Each keeps at least one and leaves the probabilities as they are: `renormalize` makes them sum to 1 again.
// Returns what they summed to.
double renormalize(std::vector<Ranked>& ranked);
// The fewest tokens, those whose information -log p is nearest to the entropy first, whose probabilities
// reach `mass` (Meister et al. 2022, "Locally Typical Sampling").
void keep_typical(std::vector<Ranked>& ranked, double mass);
// The fewest likeliest tokens whose probabilities reach `mass` (Holtzman et al. 2020).
void keep_nucleus(std::vector<Ranked>& ranked, double mass);
// Tokens at least `ratio` times as likely as the likeliest (Nguyen et al. 2024).
void keep_min_p(std::vector<Ranked>& ranked, double ratio);
// "Exclude top choices" (p-e-w, text-generation-webui, pull request 6335, 2024): of the tokens with at least
// `threshold`, only the least likely stays.
void exclude_top_choices(std::vector<Ranked>& ranked, double threshold);
// The token at `point` in [0, 1) of the distribution.
std::size_t draw_place(const std::vector<Ranked>& ranked, double point);

// Keeps the surprise of the text, in bits a token, near a target (Basu et al. 2021, "Mirostat").
class Mirostat {
public:
    explicit Mirostat(const MirostatParams& params) : params_(params), mu_(2.0 * params.tau) {}

    bool active() const { return params_.version > 0; }
    // Version 1 estimates the exponent of the ranks' Zipf distribution and keeps as many tokens as give the
    // surprise mu; version 2 drops tokens more surprising than mu.
    void filter(std::vector<Ranked>& ranked, std::int64_t n_vocab) const;
    // `probability` of the token that was drawn, among all.
    void learn(double probability);

private:
    MirostatParams params_;
    double mu_;
};

}  // namespace llmcore
