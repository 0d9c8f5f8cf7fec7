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

constexpr int kMaxLogprobs = 1000;
constexpr std::int64_t kMaxBreakers = 64;
constexpr std::uint64_t kXtcStream = 0x5854435854435854ULL;  // a stream of draws of its own

void check(bool good, const char* name, double got, const char* expected) {
    if (!good) fail(ErrorCode::invalid_argument, "sampling", name, std::to_string(got), expected);
}

void scan(std::span<const float> logits, ScannedRow& row) {
    if (!row.scan(logits)) {
        fail(ErrorCode::model, "sampling", "logits cannot be sampled from",
             "NaN, +infinity or no possible token", "finite values");
    }
}

// The standard deviation of the logits that are possible (Tang et al. 2024, "Top-nσ: Not All Logits Are You
// Need"); dividing by the temperature changes nothing about what it cuts off.
float deviation(std::span<const float> logits) {
    double sum = 0.0;
    double squares = 0.0;
    double count = 0.0;
    for (const float x : logits) {
        if (std::isinf(x)) continue;
        sum += static_cast<double>(x);
        squares += static_cast<double>(x) * static_cast<double>(x);
        ++count;
    }
    const double mean = sum / count;
    return static_cast<float>(std::sqrt(std::max(0.0, squares / count - mean * mean)));
}

void forbid_others(std::span<float> logits, std::span<const std::uint32_t> allowed) {
    constexpr std::size_t kBits = 32;
    for (std::size_t begin = 0; begin < logits.size(); begin += kBits) {
        const std::uint32_t word = allowed[begin / kBits];
        if (word == ~std::uint32_t{0}) continue;
        const std::size_t n = std::min(kBits, logits.size() - begin);
        for (std::size_t i = 0; i < n; ++i) {
            if ((word >> i & 1U) == 0) logits[begin + i] = -std::numeric_limits<float>::infinity();
        }
    }
}

}  // namespace

void check_sampling_params(const SamplingParams& p, std::int64_t n_vocab) {
    // Written so that NaN fails every check.
    check(p.temperature >= 0.0F && p.temperature <= 100.0F, "temperature", p.temperature, "0 to 100");
    check(p.top_k >= 0, "top_k", static_cast<double>(p.top_k), "0 (off) or more");
    check(p.top_p > 0.0F && p.top_p <= 1.0F, "top_p", p.top_p, "above 0, at most 1");
    check(p.min_p >= 0.0F && p.min_p <= 1.0F, "min_p", p.min_p, "0 to 1");
    check(p.typical_p > 0.0F && p.typical_p <= 1.0F, "typical_p", p.typical_p, "above 0, at most 1");
    check(p.top_n_sigma >= 0.0F && p.top_n_sigma <= 100.0F, "top_n_sigma", p.top_n_sigma, "0 to 100");
    check(p.xtc_probability >= 0.0F && p.xtc_probability <= 1.0F, "xtc_probability", p.xtc_probability,
          "0 to 1");
    check(p.xtc_threshold >= 0.0F && p.xtc_threshold <= 1.0F, "xtc_threshold", p.xtc_threshold, "0 to 1");
    check(p.mirostat.version >= 0 && p.mirostat.version <= 2, "mirostat", p.mirostat.version, "0, 1 or 2");
    check(p.mirostat.tau >= 0.0F && p.mirostat.tau <= 100.0F, "mirostat_tau", p.mirostat.tau, "0 to 100");
    check(p.mirostat.eta >= 0.0F && p.mirostat.eta <= 1.0F, "mirostat_eta", p.mirostat.eta, "0 to 1");
    check(p.dry.multiplier >= 0.0F && p.dry.multiplier <= 100.0F, "dry_multiplier", p.dry.multiplier,
          "0 to 100");
    check(p.dry.base >= 1.0F && p.dry.base <= 100.0F, "dry_base", p.dry.base, "1 to 100");
    check(p.dry.allowed_length >= 1, "dry_allowed_length", static_cast<double>(p.dry.allowed_length),
          "1 or more");
    check(p.dry.range >= 0, "dry_range", static_cast<double>(p.dry.range), "0 (all) or more");
    const auto n_breakers = static_cast<std::int64_t>(p.dry.breakers.size());
    check(n_breakers <= kMaxBreakers, "dry_sequence_breakers", static_cast<double>(n_breakers), "at most 64");
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

Sampler::Sampler(SamplingParams params, std::uint64_t seed, std::vector<std::int32_t> end_tokens,
                 const Vocabulary* vocabulary)
    : params_(std::move(params)),
      seed_(seed),
      end_tokens_(std::move(end_tokens)),
      dry_(params_.dry, vocabulary),
      mirostat_(params_.mirostat) {
    penalizes_ = params_.repetition_penalty != 1.0F || params_.frequency_penalty != 0.0F ||
                 params_.presence_penalty != 0.0F;
}

void Sampler::observe_prompt(std::span<const std::int32_t> tokens) {
    for (const std::int32_t token : tokens) dry_.observe(token);
    if (params_.repetition_penalty == 1.0F) return;
    for (const std::int32_t token : tokens) count(token, 0);
}

void Sampler::count(std::int32_t token, std::int32_t in_output) {
    const auto [place, added] = seen_places_.try_emplace(token, seen_.size());
    if (added) seen_.push_back({token, 0});
    seen_[place->second].in_output += in_output;
}

bool Sampler::adjusts() const {
    return !params_.logit_bias.empty() || !seen_.empty() || dry_.active() ||
           (n_sampled_ < params_.min_tokens && !end_tokens_.empty());
}

void Sampler::adjust(std::span<float> logits) {
    for (const LogitBias& entry : params_.logit_bias)
        logits[static_cast<std::size_t>(entry.token)] += entry.bias;
    for (const auto& [token, in_output] : seen_) {
        float& x = logits[static_cast<std::size_t>(token)];
        x = x > 0.0F ? x / params_.repetition_penalty : x * params_.repetition_penalty;
        if (in_output > 0) {
            x -= params_.frequency_penalty * static_cast<float>(in_output) + params_.presence_penalty;
        }
    }
    dry_.apply(logits);
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
    const bool greedy = params_.temperature == 0.0F || params_.top_k == 1;
    const std::int32_t token = greedy    ? scratch.row.argmax()
                               : ranks() ? draw_ranked(logits, scratch)
                                         : draw(scratch);
    dry_.observe(token);
    if (penalizes_) count(token, 1);
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
    if (params_.top_p < 1.0F && !limits_count) {
        cutoff = row.nucleus(inv_temperature, static_cast<double>(params_.top_p), candidates);
    } else if (params_.top_p < 1.0F) {
        double total = 0.0;
        for (const Candidate& c : candidates) total += candidate_weight(c.value, row.max(), inv_temperature);
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
    return row.draw(cutoff, inv_temperature, point);
}

bool Sampler::ranks() const {
    return mirostat_.active() || params_.typical_p < 1.0F || params_.top_n_sigma > 0.0F ||
           params_.xtc_probability > 0.0F;
}

std::int32_t Sampler::draw_ranked(std::span<const float> logits, SamplingScratch& scratch) {
    const auto place = static_cast<std::uint64_t>(n_sampled_);
    const float inv_temperature = std::min(1.0F / params_.temperature, 1e30F);
    Cutoff cutoff;
    if (params_.top_n_sigma > 0.0F && !mirostat_.active()) {
        cutoff.value = scratch.row.max() - params_.top_n_sigma * deviation(logits);
    }
    scratch.candidates.clear();
    scratch.row.gather(cutoff, scratch.candidates);
    std::erase_if(scratch.candidates, [](const Candidate& c) { return std::isinf(c.value); });
    std::vector<Ranked> ranked = rank(scratch.candidates, inv_temperature);
    if (mirostat_.active()) {
        mirostat_.filter(ranked, scratch.row.size());
    } else {
        if (params_.top_k > 0 && params_.top_k < static_cast<std::int64_t>(ranked.size())) {
            ranked.resize(static_cast<std::size_t>(params_.top_k));
            renormalize(ranked);
        }
        if (params_.typical_p < 1.0F) keep_typical(ranked, static_cast<double>(params_.typical_p));
        renormalize(ranked);
        if (params_.top_p < 1.0F) keep_nucleus(ranked, static_cast<double>(params_.top_p));
        if (params_.min_p > 0.0F) keep_min_p(ranked, static_cast<double>(params_.min_p));
        renormalize(ranked);
        if (uniform_draw(seed_ ^ kXtcStream, place) < static_cast<double>(params_.xtc_probability)) {
            exclude_top_choices(ranked, static_cast<double>(params_.xtc_threshold));
        }
    }
    const double kept = renormalize(ranked);
    const Ranked& drawn = ranked[draw_place(ranked, uniform_draw(seed_, place))];
    if (mirostat_.active()) mirostat_.learn(drawn.probability * kept);
    return drawn.token;
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
