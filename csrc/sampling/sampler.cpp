#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "sampling/random.h"

namespace llmcore {

namespace {

// Enough for the nucleus of most steps; flatter ones look at the whole vocabulary.
constexpr std::int64_t kFirstNucleus = 256;
constexpr int kMaxLogprobs = 1000;

void check(bool good, const char* name, double got, const char* expected) {
    if (!good) fail(ErrorCode::invalid_argument, "sampling", name, std::to_string(got), expected);
}

void scan(std::span<const float> logits, ScannedRow& row) {
    if (!row.scan(logits)) {
        fail(ErrorCode::model, "sampling", "logits cannot be sampled from",
             "NaN, +infinity or no possible token", "finite values");
    }
}

void forbid_others(std::span<float> logits, std::span<const std::uint32_t> allowed) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if ((allowed[i / 32] >> (i % 32) & 1U) == 0) logits[i] = -std::numeric_limits<float>::infinity();
    }
}

}  // namespace

void check_sampling_params(const SamplingParams& p, std::int64_t n_vocab) {
    // Written so that NaN fails every check.
    check(p.temperature >= 0.0F && p.temperature <= 100.0F, "temperature", p.temperature, "0 to 100");
    check(p.top_k >= 0, "top_k", static_cast<double>(p.top_k), "0 (off) or more");
    check(p.top_p > 0.0F && p.top_p <= 1.0F, "top_p", p.top_p, "above 0, at most 1");
    check(p.min_p >= 0.0F && p.min_p <= 1.0F, "min_p", p.min_p, "0 to 1");
    check(p.repetition_penalty > 0.0F && p.repetition_penalty <= 100.0F, "repetition_penalty",
          p.repetition_penalty, "above 0, at most 100");
    check(std::abs(p.frequency_penalty) <= 100.0F, "frequency_penalty", p.frequency_penalty, "-100 to 100");
    check(std::abs(p.presence_penalty) <= 100.0F, "presence_penalty", p.presence_penalty, "-100 to 100");
    check(p.min_tokens >= 0, "min_tokens", static_cast<double>(p.min_tokens), "0 or more");
    check(p.logprobs.value_or(0) >= 0 && p.logprobs.value_or(0) <= kMaxLogprobs, "logprobs",
          p.logprobs.value_or(0), "0 to 1000");
    for (const LogitBias& entry : p.logit_bias) {
        check(entry.token >= 0 && entry.token < n_vocab, "logit_bias token", entry.token,
              "a token of the vocabulary");
        check(entry.bias >= -1e6F && entry.bias <= 1e6F, "logit_bias", entry.bias, "-1000000 to 1000000");
    }
}

Sampler::Sampler(SamplingParams params, std::uint64_t seed, std::vector<std::int32_t> end_tokens)
    : params_(std::move(params)), seed_(seed), end_tokens_(std::move(end_tokens)) {
    penalizes_ = params_.repetition_penalty != 1.0F || params_.frequency_penalty != 0.0F ||
                 params_.presence_penalty != 0.0F;
}

void Sampler::observe_prompt(std::span<const std::int32_t> tokens) {
    if (params_.repetition_penalty == 1.0F) return;
    for (const std::int32_t token : tokens) seen_.try_emplace(token);
}

bool Sampler::adjusts() const {
    return !params_.logit_bias.empty() || !seen_.empty() ||
           (n_sampled_ < params_.min_tokens && !end_tokens_.empty());
}

void Sampler::adjust(std::span<float> logits) const {
    for (const LogitBias& entry : params_.logit_bias)
        logits[static_cast<std::size_t>(entry.token)] += entry.bias;
    for (const auto& [token, in_output] : seen_) {
        float& x = logits[static_cast<std::size_t>(token)];
        x = x > 0.0F ? x / params_.repetition_penalty : x * params_.repetition_penalty;
        if (in_output > 0) {
            x -= params_.frequency_penalty * static_cast<float>(in_output) + params_.presence_penalty;
        }
    }
    if (n_sampled_ < params_.min_tokens) {
        for (const std::int32_t token : end_tokens_) {
            logits[static_cast<std::size_t>(token)] = -std::numeric_limits<float>::infinity();
        }
    }
}

std::int32_t Sampler::next(std::span<const float> logits, SamplingScratch& scratch,
                           std::span<const std::uint32_t> allowed) {
    if (adjusts() || !allowed.empty()) {
        scratch.adjusted.assign(logits.begin(), logits.end());
        adjust(scratch.adjusted);
        if (!allowed.empty()) forbid_others(scratch.adjusted, allowed);
        logits = scratch.adjusted;
    }
    scan(logits, scratch.row);
    const std::int32_t token =
        params_.temperature == 0.0F || params_.top_k == 1 ? scratch.row.argmax() : draw(scratch);
    if (penalizes_) ++seen_[token];
    ++n_sampled_;
    return token;
}

Cutoff Sampler::filter(ScannedRow& row, std::vector<Candidate>& candidates, float inv_temperature) const {
    Cutoff cutoff;
    const bool limits_count = params_.top_k > 0 && params_.top_k < row.size();
    if (limits_count) {
        row.gather_largest(params_.top_k, candidates);
        const auto last = candidates.begin() + (params_.top_k - 1);
        std::nth_element(candidates.begin(), last, candidates.end(), precedes);
        cutoff = {last->value, last->token};
        candidates.erase(last + 1, candidates.end());
    }
    if (params_.top_p < 1.0F) {
        double total = 0.0;
        if (limits_count) {
            for (const Candidate& c : candidates)
                total += candidate_weight(c.value, row.max(), inv_temperature);
        } else {
            total = row.exp_sum(inv_temperature);
            row.gather_largest(kFirstNucleus, candidates);
            double first = 0.0;
            for (const Candidate& c : candidates)
                first += candidate_weight(c.value, row.max(), inv_temperature);
            if (first < params_.top_p * total) {
                candidates.clear();
                row.gather(cutoff, candidates);
            }
        }
        const std::int64_t kept = select_mass(candidates, row.max(), inv_temperature, params_.top_p * total);
        const Candidate& last = candidates[static_cast<std::size_t>(kept - 1)];
        cutoff = {last.value, last.token};
    }
    if (params_.min_p > 0.0F) {
        const float least = row.max() + std::log(params_.min_p) / inv_temperature;
        if (least > cutoff.value)
            cutoff = {std::min(least, row.max()), std::numeric_limits<std::int32_t>::max()};
    }
    return cutoff;
}

std::int32_t Sampler::draw(SamplingScratch& scratch) const {
    ScannedRow& row = scratch.row;
    std::vector<Candidate>& candidates = scratch.candidates;
    // A temperature so low that its inverse overflows is greedy to every bit that a float has.
    const float inv_temperature = std::min(1.0F / params_.temperature, 1e30F);
    const double point = uniform_draw(seed_, static_cast<std::uint64_t>(n_sampled_));
    candidates.clear();
    const Cutoff cutoff = filter(row, candidates, inv_temperature);
    if (cutoff.value == -std::numeric_limits<float>::infinity()) return row.draw(inv_temperature, point);

    candidates.clear();
    row.gather(cutoff, candidates);
    double total = 0.0;
    for (const Candidate& c : candidates) total += candidate_weight(c.value, row.max(), inv_temperature);
    double left = point * total;
    std::int32_t last = row.argmax();
    for (const Candidate& c : candidates) {
        const float weight = candidate_weight(c.value, row.max(), inv_temperature);
        if (weight <= 0.0F) continue;
        last = c.token;
        if (left < weight) break;
        left -= weight;
    }
    return last;
}

TokenLogprobs compute_logprobs(std::span<const float> logits, std::int32_t token, int n_top,
                               SamplingScratch& scratch) {
    scan(logits, scratch.row);
    const double log_total = std::log(scratch.row.exp_sum(1.0F));
    const auto logprob = [&](float x) {
        return static_cast<float>(static_cast<double>(x) - static_cast<double>(scratch.row.max()) -
                                  log_total);
    };
    TokenLogprobs found;
    found.chosen = {token, logprob(logits[static_cast<std::size_t>(token)])};
    scratch.row.top(n_top, scratch.candidates);
    for (const Candidate& c : scratch.candidates) found.top.push_back({c.token, logprob(c.value)});
    return found;
}

}  // namespace llmcore
