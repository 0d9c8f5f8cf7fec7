// A draft model: the same tokens in fewer steps, whatever it says, lacks or does.
#include <atomic>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/drafter.h"
#include "engine/speculation.h"
#include "engine_rig.h"

namespace llmcore::test {

namespace {

struct DraftSettings {
    std::int64_t wrong = 0;  // rows at multiples of this position guess wrong; 0: none
    std::int64_t n_vocab = kVocab;
    bool nan = false;     // its rows cannot be sampled from
    int fails_every = 0;  // so many calls; 0: never
};

RunnerLimits roomy_limits() {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.max_step_tokens = 64;
    limits.max_logit_rows = 32;
    limits.n_ctx = 128;
    limits.kv_blocks = 256;
    return limits;
}

// The fake model again, with faults.
class DraftRunner final : public ModelRunner {
public:
    DraftRunner(const RunnerLimits& limits, const DraftSettings& settings)
        : inner_(limits), settings_(settings) {}
    RunnerLimits limits() const override {
        RunnerLimits limits = inner_.limits();
        limits.n_vocab = settings_.n_vocab;
        return limits;
    }
    std::span<const float> forward(const Batch& batch) override {
        ++calls_;
        if (settings_.fails_every > 0 && calls_ % settings_.fails_every == 0)
            throw std::runtime_error("the draft model is out of order");
        const std::span<const float> rows = inner_.forward(batch);
        CHECK(!inner_.overfull);
        const auto width = static_cast<std::size_t>(settings_.n_vocab);
        result_.assign(batch.logit_rows.size() * width, 0.0F);
        for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
            const std::int32_t position = batch.positions[static_cast<std::size_t>(batch.logit_rows[i])];
            const bool wrong = settings_.wrong > 0 && position % settings_.wrong == 0;
            const std::size_t shift = wrong ? 1 : 0;
            for (std::size_t t = 0; t + shift < std::min<std::size_t>(width, kVocab); ++t)
                result_[i * width + t + shift] = rows[i * kVocab + t];
            if (settings_.nan) result_[i * width] = std::numeric_limits<float>::quiet_NaN();
        }
        return result_;
    }
    std::span<const float> hidden_states(const Batch&) override { return {}; }

private:
    FakeRunner inner_;
    DraftSettings settings_;
    int calls_ = 0;
    std::vector<float> result_;
};

struct DraftRig {
    FakeRunner* runner;
    std::unique_ptr<Engine> engine;
    Results results;

    DraftRig(const RunnerLimits& limits, const RunnerLimits& draft_limits, const DraftSettings& settings,
             EngineConfig config) {
        auto owned = std::make_unique<FakeRunner>(limits);
        runner = owned.get();
        config.draft_adapts = false;
        engine = std::make_unique<Engine>(std::move(owned), fake_vocabulary(), config, nullptr,
                                          std::make_unique<DraftRunner>(draft_limits, settings));
    }
    bool await(std::size_t n) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (finished() < n && std::chrono::steady_clock::now() < deadline)
            collect(engine->outputs().wait(0.1), results);
        return finished() >= n;
    }
    std::size_t finished() const {
        std::size_t n = 0;
        for (const auto& [key, c] : results) n += c.n_finished;
        return n;
    }
};

EngineStats run_alone(const DraftSettings& settings, std::int64_t guesses, std::int64_t n,
                      Collected& result) {
    DraftRig rig(roomy_limits(), roomy_limits(), settings, {.max_batch = 4, .draft_tokens = guesses});
    rig.engine->submit(request(1, prompt_of(5, 11), n));
    CHECK(rig.await(1));
    result = rig.results[{1, 0}];
    return rig.engine->stats();
}

// Sampled, penalized, with log-probabilities, several of one prompt: what a crowd asks for.
std::vector<RequestSpec> crowd() {
    std::vector<RequestSpec> requests;
    for (std::uint64_t id = 1; id <= 24; ++id) {
        RequestSpec spec = request(id, prompt_of(id % 5, 3 + id), 8 + static_cast<std::int64_t>(id % 25));
        spec.sampling.seed = id;
        spec.sampling.temperature = id % 3 == 0 ? 0.0F : 3.0F;
        spec.sampling.top_p = id % 4 == 0 ? 0.8F : 1.0F;
        spec.sampling.repetition_penalty = id % 2 == 0 ? 1.3F : 1.0F;
        spec.sampling.dry.multiplier = id % 5 == 0 ? 0.8F : 0.0F;
        spec.sampling.logit_bias = {{kThrowToken, -1e6F}, {kNanToken, -1e6F}, {kVocab - 2, -5.0F}};
        spec.sampling.min_tokens = 3;
        spec.sampling.logprobs = 2;
        spec.stop_token_ids = {static_cast<std::int32_t>(id)};
        spec.n = id % 7 == 0 ? 2 : 1;
        requests.push_back(spec);
    }
    return requests;
}

constexpr std::size_t kCrowdSequences = 27;

}  // namespace

LLMCORE_TEST(draft_guesses_save_steps_and_change_no_token) {
    for (const std::int64_t wrong : {0, 1, 2, 3, 7}) {
        for (const std::int64_t guesses : {1, 2, 4}) {
            for (const std::int64_t n : {1, 2, 40}) {
                Collected result;
                const EngineStats stats = run_alone({.wrong = wrong}, guesses, n, result);
                CHECK(result.tokens == alone(prompt_of(5, 11), n));
                // After the first token each step checks guesses up to the first wrong one.
                std::int64_t steps = 1;
                std::int64_t drafted = 0;
                std::int64_t sampled = 1;
                while (sampled < n) {
                    const std::int64_t asked = std::min(guesses, n - sampled - 1);
                    std::int64_t right = 0;
                    while (right < asked && (wrong == 0 || (11 + sampled - 1 + right) % wrong != 0)) ++right;
                    ++steps;
                    drafted += asked;
                    sampled += right + 1;
                }
                CHECK_MSG(stats.steps == steps,
                          stats.steps << " steps, not " << steps << ", wrong at " << wrong);
                CHECK(stats.drafted_tokens == drafted && stats.guessed_tokens == drafted);
                CHECK(stats.accepted_draft_tokens == n - steps && stats.accepted_tokens == n - steps);
                CHECK(stats.kv_blocks_free == stats.kv_blocks_total && stats.draft_failures == 0);
            }
        }
    }
}

LLMCORE_TEST(draft_in_a_crowd_changes_nothing) {
    Rig plain(roomy_limits(), {.max_batch = 6});
    for (const RequestSpec& spec : crowd()) plain.engine->submit(spec);
    CHECK(plain.await(kCrowdSequences));
    RunnerLimits scarce = roomy_limits();  // preemptions
    scarce.kv_blocks = 36;
    RunnerLimits small = roomy_limits();  // no room for all, and short texts only
    small.kv_blocks = 20;
    small.n_ctx = 40;
    small.max_step_tokens = 12;
    struct Case {
        RunnerLimits model, draft;
        DraftSettings settings;
    };
    const Case cases[] = {{roomy_limits(), roomy_limits(), {.wrong = 4}},
                          {scarce, roomy_limits(), {}},
                          {scarce, small, {.wrong = 3}},
                          {roomy_limits(), small, {.n_vocab = 52}},
                          {roomy_limits(), roomy_limits(), {.n_vocab = 90}},
                          {roomy_limits(), roomy_limits(), {.fails_every = 5}}};
    for (const Case& c : cases) {
        DraftRig rig(c.model, c.draft, c.settings, {.max_batch = 6, .prompt_lookup = 2, .draft_tokens = 3});
        for (const RequestSpec& spec : crowd()) rig.engine->submit(spec);
        CHECK(rig.await(kCrowdSequences));
        for (const auto& [key, expected] : plain.results) {
            const Collected& found = rig.results[key];
            CHECK_MSG(found.tokens == expected.tokens && found.text == expected.text,
                      "request " << key.first);
            CHECK(found.last.finish == expected.last.finish);
        }
        const EngineStats stats = rig.engine->stats();
        CHECK_MSG(stats.accepted_draft_tokens > 0,
                  "case " << &c - cases << ": " << stats.drafted_tokens << " drafted");
        CHECK(stats.kv_blocks_free == stats.kv_blocks_total);
        CHECK(!rig.runner->overfull);
    }
}

LLMCORE_TEST(draft_that_fails_is_given_up) {
    DraftRig rig(roomy_limits(), roomy_limits(), {.fails_every = 1}, {.max_batch = 4});
    for (std::uint64_t id = 1; id <= 3; ++id) {
        rig.engine->submit(request(id, prompt_of(id, 9), 20));
        CHECK(rig.await(id));
        CHECK(rig.results[(std::pair<std::uint64_t, std::int64_t>{id, 0})].tokens ==
              alone(prompt_of(id, 9), 20));
    }
    const EngineStats stats = rig.engine->stats();
    CHECK(stats.draft_failures == 3 && stats.drafted_tokens == 0 && stats.failed == 0);
}

LLMCORE_TEST(draft_rows_that_cannot_be_sampled_are_no_guesses) {
    DraftRig rig(roomy_limits(), roomy_limits(), {.nan = true}, {.max_batch = 4});
    rig.engine->submit(request(1, prompt_of(1, 9), 20));
    CHECK(rig.await(1));
    CHECK((rig.results[{1, 0}].tokens == alone(prompt_of(1, 9), 20)));
    CHECK(rig.engine->stats().drafted_tokens == 0 && rig.engine->stats().draft_failures == 0);
}

LLMCORE_TEST(draft_gives_back_what_ended_sequences_held) {
    RunnerLimits limits = roomy_limits();
    limits.kv_blocks = 16;  // of 4 tokens
    Drafter drafter(std::make_unique<DraftRunner>(limits, DraftSettings{}), kVocab);
    SamplingParams params;
    params.temperature = 0.0F;
    const Sampler greedy(params, 1, {});
    StepCost cost;
    std::vector<std::int32_t> guesses;
    const auto guess = [&](SequenceId id, const std::vector<std::int32_t>& tokens, std::int64_t n) {
        const Drafter::Wish wish{id, tokens, &greedy, n, &guesses};
        drafter.guess({&wish, 1}, 64, cost);
        return guesses;
    };
    const std::vector<std::int32_t> first = prompt_of(1, 30);
    CHECK(guess(1, first, 3) == alone(first, 3));
    CHECK(drafter.free_blocks() == 8);
    // Part of the guesses was right, then another token came.
    std::vector<std::int32_t> longer = first;
    longer.push_back(alone(first, 1)[0]);
    longer.push_back(7);
    CHECK(guess(1, longer, 2) == alone(longer, 2));
    // Too long for what is left: the first, idle now, makes room.
    const std::vector<std::int32_t> second = prompt_of(2, 60);
    CHECK(guess(2, second, 2) == alone(second, 2));
    CHECK(drafter.free_blocks() == 0);
    CHECK(guess(1, longer, 1) == alone(longer, 1));
    // Never enough, and too many rows for one call: no guess yet, but the next call goes on.
    CHECK(guess(3, prompt_of(3, 70), 1).empty());
    drafter.forget(3);
    const Drafter::Wish slow{4, second, &greedy, 1, &guesses};
    for (int i = 0; i < 6; ++i) {
        CHECK(guesses.empty());
        drafter.guess({&slow, 1}, 10, cost);
    }
    CHECK(guesses == alone(second, 1));
    for (SequenceId id = 1; id <= 4; ++id) drafter.forget(id);
    CHECK(drafter.free_blocks() == drafter.total_blocks());
}

LLMCORE_TEST(draft_vocabulary_must_be_the_models) {
    using Types = std::vector<TokenType>;
    const TokenType normal = TokenType::normal;
    const auto vocabulary = [](std::vector<std::string> bytes, Types types) {
        return Vocabulary(std::move(bytes), std::move(types), {}, false);
    };
    const Vocabulary model = vocabulary({"a", "b"}, {normal, normal});
    check_same_tokens(model, model);
    const Vocabulary padded = vocabulary({"a", "b", "[PAD]"}, {normal, normal, TokenType::unused});
    check_same_tokens(model, padded);
    check_same_tokens(padded, model);
    CHECK_THROWS(ErrorCode::model, check_same_tokens(model, vocabulary({"a", "c"}, {normal, normal})));
    CHECK_THROWS(ErrorCode::model,
                 check_same_tokens(model, vocabulary({"a", "b"}, {normal, TokenType::control})));
    CHECK_THROWS(ErrorCode::model,
                 check_same_tokens(model, vocabulary({"a", "b", "c"}, {normal, normal, normal})));
}

LLMCORE_TEST(speculation_is_worth_what_steps_cost) {
    StepCost cost;
    CHECK(!cost.known() && cost.seconds(3) == 0.0);
    for (int i = 0; i < 50; ++i) cost.learn(i % 5 + 1, 0.1 + 0.02 * (i % 5 + 1));
    CHECK(std::abs(cost.row_seconds() - 0.02) < 1e-9 && std::abs(cost.seconds(10) - 0.3) < 1e-9);

    const auto after = [](double rate, std::int64_t n, double base, double row, double draft) {
        Speculation speculation(4, true);
        CHECK(speculation.guesses(0.0, n) == 4);  // nothing is known yet
        for (int i = 0; i < 50; ++i) {
            const double rows = static_cast<double>(n * (i % 3 + 1));
            speculation.model_cost().learn(rows, base + row * rows);
            speculation.draft_cost().learn(rows, draft);
        }
        return speculation.guesses(rate, n);
    };
    CHECK(after(0.8, 1, 0.1, 0.001, 0.01) == 4);  // one sequence, weights are what a step reads
    CHECK(after(0.5, 1, 0.1, 0.001, 0.03) == 1);  // 0.5 of a step is more than the draft takes, 0.25 is not
    CHECK(after(0.2, 1, 0.1, 0.001, 0.03) == 0);  // seldom right
    CHECK(after(0.9, 32, 0.1, 0.05, 0.01) == 0);  // each row costs as much as it could save

    Speculation speculation(4, true);
    double rate = 0.5;
    for (int i = 0; i < 100; ++i) speculation.follow(rate, 3, 0);
    CHECK(rate < 0.01 && speculation.usual_rate() < 0.2);
    for (int i = 0; i < 100; ++i) speculation.follow(rate, 3, 3);
    CHECK(rate > 0.99 && speculation.usual_rate() > 0.9);
    rate = 0.0;
    for (int i = 0; i < 300; ++i) speculation.follow(rate, 0, 0);
    CHECK(rate > 0.8);
    int looks = 0;
    for (int i = 0; i < 300; ++i) looks += speculation.looks_again(false) ? 1 : 0;
    CHECK(looks == 2);
}

}  // namespace llmcore::test
