// The sampler against a plain sort of the whole row.
#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "harness.h"
#include "sampling/random.h"

namespace llmcore::test {

namespace {

std::vector<float> random_logits(std::uint64_t seed, std::size_t n, float scale) {
    Random random(seed);
    std::vector<float> logits(n);
    for (float& x : logits) x = random.normal() * scale;
    return logits;
}

std::vector<std::int32_t> sorted_tokens(const std::vector<float>& logits) {
    std::vector<std::int32_t> order(logits.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    return order;
}

// Probabilities of the tokens that the filters leave, by sorting everything in double.
std::map<std::int32_t, double> expected_distribution(const std::vector<float>& logits,
                                                     const SamplingParams& p) {
    std::vector<std::int32_t> order = sorted_tokens(logits);
    const double max = logits[static_cast<std::size_t>(order[0])];
    const auto weight = [&](std::int32_t token) {
        return std::exp((static_cast<double>(logits[static_cast<std::size_t>(token)]) - max) /
                        static_cast<double>(p.temperature));
    };
    if (p.top_k > 0 && p.top_k < static_cast<std::int64_t>(order.size())) {
        order.resize(static_cast<std::size_t>(p.top_k));
    }
    double total = 0.0;
    for (const std::int32_t token : order) total += weight(token);
    double sum = 0.0;
    std::size_t kept = 0;
    while (kept < order.size() && (kept == 0 || sum < static_cast<double>(p.top_p) * total)) {
        sum += weight(order[kept++]);
    }
    if (p.top_p < 1.0F) order.resize(kept);
    std::map<std::int32_t, double> distribution;
    double left = 0.0;
    for (const std::int32_t token : order) {
        if (weight(token) >= static_cast<double>(p.min_p)) left += distribution[token] = weight(token);
    }
    for (auto& [token, probability] : distribution) probability /= left;
    return distribution;
}

// Draws `n` tokens and compares how often each came with the distribution it should have.
void check_draws(const std::vector<float>& logits, const SamplingParams& params, int n) {
    const auto expected = expected_distribution(logits, params);
    Sampler sampler(params, 7, {});
    SamplingScratch scratch;
    std::map<std::int32_t, int> counts;
    for (int i = 0; i < n; ++i) ++counts[sampler.next(logits, scratch)];
    double difference = 0.0;
    for (const auto& [token, count] : counts) CHECK_MSG(expected.contains(token), "token " << token);
    for (const auto& [token, probability] : expected) {
        difference += std::abs(probability - static_cast<double>(counts[token]) / n);
    }
    // The expected total variation of n draws over k tokens is below sqrt(k / n).
    const double bound = 1.5 * std::sqrt(static_cast<double>(expected.size()) / n) + 1e-3;
    CHECK_MSG(difference < bound,
              difference << " against " << bound << " over " << expected.size() << " tokens");
}

SamplingParams params_of(float temperature, std::int64_t top_k, float top_p, float min_p) {
    SamplingParams params;
    params.temperature = temperature;
    params.top_k = top_k;
    params.top_p = top_p;
    params.min_p = min_p;
    return params;
}

std::int32_t greedy(const std::vector<float>& logits, const SamplingParams& base,
                    std::vector<std::int32_t> end_tokens = {}) {
    SamplingParams params = base;
    params.temperature = 0.0F;
    SamplingScratch scratch;
    return Sampler(params, 1, std::move(end_tokens)).next(logits, scratch);
}

}  // namespace

LLMCORE_TEST(sampler_greedy_takes_the_lowest_of_equals) {
    for (const std::size_t n : {1U, 2U, 63U, 64U, 65U, 1000U, 4097U}) {
        std::vector<float> logits = random_logits(n, n, 1.0F);
        CHECK(greedy(logits, {}) == sorted_tokens(logits)[0]);
        std::fill(logits.begin(), logits.end(), -3.0F);
        CHECK(greedy(logits, {}) == 0);
        logits[n / 2] = logits[n - 1] = 2.0F;
        CHECK(greedy(logits, {}) == static_cast<std::int32_t>(n / 2));
    }
}

LLMCORE_TEST(sampler_draws_follow_the_filtered_distribution) {
    const std::vector<float> small = random_logits(1, 50, 2.0F);
    const std::vector<float> large = random_logits(2, 1501, 2.5F);
    check_draws(small, params_of(1.0F, 0, 1.0F, 0.0F), 20000);
    check_draws(small, params_of(0.6F, 0, 1.0F, 0.0F), 20000);
    check_draws(small, params_of(1.0F, 7, 1.0F, 0.0F), 20000);
    check_draws(small, params_of(1.0F, 0, 0.7F, 0.0F), 20000);
    check_draws(small, params_of(1.0F, 0, 1.0F, 0.2F), 20000);
    check_draws(small, params_of(1.3F, 20, 0.8F, 0.05F), 20000);
    check_draws(small, params_of(1.0F, 49, 0.999F, 0.0F), 20000);
    check_draws(large, params_of(1.0F, 40, 0.95F, 0.0F), 8000);
    check_draws(large, params_of(0.8F, 0, 0.5F, 0.0F), 8000);   // a nucleus found at once
    check_draws(large, params_of(2.0F, 0, 0.95F, 0.0F), 8000);  // one that needs the whole row
    check_draws(large, params_of(1.0F, 0, 1.0F, 0.1F), 8000);
    check_draws(large, params_of(1.0F, 1000, 1.0F, 0.0F), 8000);
}

LLMCORE_TEST(sampler_finds_the_nucleus_of_a_large_row) {
    std::vector<float> flat = random_logits(3, 20011, 2.0F);
    std::vector<float> coarse = flat;  // many equal values, on the border too
    for (float& x : coarse) x = std::round(x * 2.0F) / 2.0F;
    SamplingScratch scratch;
    for (const std::vector<float>* row : {&flat, &coarse}) {
        for (const float temperature : {0.5F, 1.0F, 3.0F}) {
            for (const float top_p : {0.01F, 0.5F, 0.9F, 0.9999F}) {
                const SamplingParams params = params_of(temperature, 0, top_p, 0.0F);
                const auto expected = expected_distribution(*row, params);
                CHECK(scratch.row.scan(*row));
                const Cutoff cutoff =
                    scratch.row.nucleus(1.0F / temperature, double{top_p}, scratch.candidates);
                std::int64_t kept = 0;
                for (std::size_t t = 0; t < row->size(); ++t)
                    kept += cutoff.keeps((*row)[t], static_cast<std::int32_t>(t)) ? 1 : 0;
                // The sums are of floats: the border may move by what a millionth of the mass holds.
                const auto n = static_cast<std::int64_t>(expected.size());
                CHECK_MSG(std::abs(kept - n) <= 1 + n / 1000, kept << " kept, not " << n);
            }
        }
    }
}

LLMCORE_TEST(sampler_draws_stop_at_the_cutoff) {
    // Equal values on both sides of the cutoff's token, in its block and in others.
    std::vector<float> row(300, 1.0F);
    row[7] = row[200] = 2.0F;
    SamplingScratch scratch;
    CHECK(scratch.row.scan(row));
    for (const std::int32_t last : {0, 63, 64, 100, 299}) {
        const Cutoff cutoff{1.0F, last};
        std::set<std::int32_t> seen;
        for (int i = 0; i <= 5000; ++i)
            seen.insert(scratch.row.draw(cutoff, 1.0F, std::min(i / 5000.0, 0.9999999999)));
        std::set<std::int32_t> kept{7, 200};
        for (std::int32_t t = 0; t <= last; ++t) kept.insert(t);
        CHECK(seen == kept);
    }
}

LLMCORE_TEST(sampler_masks_leave_only_what_is_allowed) {
    for (const std::size_t n : {1U, 31U, 32U, 33U, 1000U}) {
        const std::vector<float> logits = random_logits(n, n, 1.0F);
        for (std::size_t only = 0; only < n; only += 1 + n / 7) {
            std::vector<std::uint32_t> mask((n + 31) / 32, 0);
            mask[only / 32] |= 1U << (only % 32);
            SamplingScratch scratch;
            Sampler sampler(params_of(1.0F, 0, 0.9F, 0.0F), 1, {});
            CHECK(sampler.next(logits, scratch, mask) == static_cast<std::int32_t>(only));
            std::fill(mask.begin(), mask.end(), ~0U);
            Sampler open(params_of(0.0F, 0, 1.0F, 0.0F), 1, {});
            CHECK(open.next(logits, scratch, mask) == sorted_tokens(logits)[0]);
        }
    }
}

LLMCORE_TEST(sampler_filters_break_ties_by_token) {
    std::vector<float> logits(200, 0.0F);
    logits[150] = 1.0F;
    SamplingScratch scratch;
    Sampler sampler(params_of(5.0F, 4, 1.0F, 0.0F), 3, {});
    std::set<std::int32_t> seen;
    for (int i = 0; i < 2000; ++i) seen.insert(sampler.next(logits, scratch));
    CHECK((seen == std::set<std::int32_t>{0, 1, 2, 150}));
}

LLMCORE_TEST(sampler_extreme_settings) {
    const std::vector<float> logits = random_logits(4, 300, 3.0F);
    const std::int32_t best = sorted_tokens(logits)[0];
    SamplingScratch scratch;
    for (const SamplingParams& params : {params_of(1e-30F, 0, 1.0F, 0.0F), params_of(1.0F, 0, 1e-9F, 0.0F),
                                         params_of(1.0F, 0, 1.0F, 1.0F), params_of(1.0F, 1, 1.0F, 0.0F)}) {
        Sampler sampler(params, 5, {});
        for (int i = 0; i < 50; ++i) CHECK(sampler.next(logits, scratch) == best);
    }
    // Impossible tokens are never drawn.
    const float none = -std::numeric_limits<float>::infinity();
    std::vector<float> two(130, none);
    two[5] = 1.0F;
    two[129] = 1.0F;
    Sampler sampler(params_of(100.0F, 0, 1.0F, 0.0F), 5, {});
    std::set<std::int32_t> seen;
    for (int i = 0; i < 200; ++i) seen.insert(sampler.next(two, scratch));
    CHECK((seen == std::set<std::int32_t>{5, 129}));
}

LLMCORE_TEST(sampler_refuses_unusable_logits) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    for (const std::size_t n : {1U, 64U, 130U}) {
        for (const float bad : {nan, infinity}) {
            for (const std::size_t at : {std::size_t{0}, n / 2, n - 1}) {
                std::vector<float> logits(n, 0.5F);
                logits[at] = bad;
                CHECK_THROWS(ErrorCode::model, greedy(logits, {}));
                SamplingScratch scratch;
                CHECK_THROWS(ErrorCode::model, compute_logprobs(logits, 0, 1, scratch));
            }
        }
        CHECK_THROWS(ErrorCode::model, greedy(std::vector<float>(n, -infinity), {}));
    }
}

LLMCORE_TEST(sampler_bias_and_penalties) {
    const std::vector<float> logits = {3.0F, 2.0F, -1.0F, 1.0F};
    SamplingParams params;
    params.logit_bias = {{3, 2.5F}};
    CHECK(greedy(logits, params) == 3);
    params = {};
    params.min_tokens = 1;
    CHECK(greedy(logits, params, {0}) == 1);

    SamplingScratch scratch;
    params = {};
    params.temperature = 0.0F;
    params.repetition_penalty = 2.0F;
    Sampler repetition(params, 1, {});
    repetition.observe_prompt(std::vector<std::int32_t>{0});
    CHECK(repetition.next(logits, scratch) == 1);  // 1.5, 2, -1, 1
    CHECK(repetition.next(logits, scratch) == 0);  // 1.5, 1, -1, 1
    CHECK(repetition.next(logits, scratch) == 0);  // the count does not matter

    params.repetition_penalty = 1.0F;
    params.frequency_penalty = 0.6F;
    Sampler frequency(params, 1, {});
    std::vector<std::int32_t> drawn;
    for (int i = 0; i < 5; ++i) drawn.push_back(frequency.next(logits, scratch));
    // 3, 2.4, then 1.8 against 2, then 1.8 against 1.4, then 1.2 against 1.4.
    CHECK((drawn == std::vector<std::int32_t>{0, 0, 1, 0, 1}));

    params.frequency_penalty = 0.0F;
    params.presence_penalty = 1.5F;
    Sampler presence(params, 1, {});
    drawn.clear();
    for (int i = 0; i < 4; ++i) drawn.push_back(presence.next(logits, scratch));
    // 3 2 . 1, then 1.5 2 . 1, then 1.5 0.5 . 1 for good.
    CHECK((drawn == std::vector<std::int32_t>{0, 1, 0, 0}));
}

LLMCORE_TEST(sampler_logprobs_are_of_the_unchanged_row) {
    const std::vector<float> logits = random_logits(9, 3001, 4.0F);
    double total = 0.0;
    for (const float x : logits) total += std::exp(static_cast<double>(x));
    const auto logprob = [&](std::int32_t t) {
        return static_cast<double>(logits[static_cast<std::size_t>(t)]) - std::log(total);
    };
    SamplingScratch scratch;
    const TokenLogprobs found = compute_logprobs(logits, 17, 12, scratch);
    const auto order = sorted_tokens(logits);
    CHECK(found.chosen.token == 17 && std::abs(found.chosen.logprob - logprob(17)) < 2e-6);
    CHECK(found.top.size() == 12);
    for (std::size_t i = 0; i < found.top.size(); ++i) {
        CHECK(found.top[i].token == order[i]);
        CHECK(std::abs(found.top[i].logprob - logprob(order[i])) < 2e-6);
    }
    CHECK(compute_logprobs(logits, 0, 5000, scratch).top.size() == 3001);
    CHECK(compute_logprobs(logits, 0, 0, scratch).top.empty());
}

LLMCORE_TEST(sampler_draws_depend_on_seed_and_place_alone) {
    const std::vector<float> logits = random_logits(3, 512, 1.0F);
    const std::vector<float> other = random_logits(4, 512, 1.0F);
    SamplingScratch shared;
    Sampler a(params_of(1.0F, 0, 0.9F, 0.0F), 42, {});
    Sampler b(params_of(1.0F, 0, 0.9F, 0.0F), 42, {});
    Sampler c(params_of(1.0F, 0, 0.9F, 0.0F), 43, {});
    int differs = 0;
    for (int i = 0; i < 100; ++i) {
        const std::int32_t first = a.next(logits, shared);
        differs += c.next(other, shared) != first ? 1 : 0;  // in between
        SamplingScratch own;
        CHECK(b.next(logits, own) == first);
    }
    CHECK(differs > 50);
    CHECK(child_seed(42, 0) == 42 && child_seed(42, 1) != child_seed(42, 2));
    double mean = 0.0;
    for (std::uint64_t i = 0; i < 10000; ++i) mean += uniform_draw(1, i) / 10000;
    CHECK(std::abs(mean - 0.5) < 0.01);
}

LLMCORE_TEST(sampling_params_are_checked) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto with = [](auto change) {
        SamplingParams params;
        change(params);
        return params;
    };
    check_sampling_params({}, 10);
    CHECK_THROWS(ErrorCode::invalid_argument,
                 check_sampling_params(with([&](auto& p) { p.temperature = nan; }), 10));
    CHECK_THROWS(ErrorCode::invalid_argument,
                 check_sampling_params(with([](auto& p) { p.top_p = 0.0F; }), 10));
    CHECK_THROWS(ErrorCode::invalid_argument, check_sampling_params(with([](auto& p) { p.top_k = -1; }), 10));
    CHECK_THROWS(ErrorCode::invalid_argument,
                 check_sampling_params(with([](auto& p) { p.min_p = 1.5F; }), 10));
    CHECK_THROWS(ErrorCode::invalid_argument,
                 check_sampling_params(with([](auto& p) { p.logit_bias = {{10, 1.0F}}; }), 10));
    CHECK_THROWS(ErrorCode::invalid_argument,
                 check_sampling_params(with([](auto& p) { p.repetition_penalty = 0.0F; }), 10));
}

}  // namespace llmcore::test
