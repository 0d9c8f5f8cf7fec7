// Prompt lookup: the same tokens in fewer steps. And rows that are run the same way whatever is beside them.
#include <algorithm>
#include <string>
#include <vector>

#include "engine/fixed_rows_runner.h"
#include "engine/prompt_lookup.h"
#include "engine_rig.h"

namespace llmcore::test {

namespace {

// Says the prompt's tokens again and again: the best case, and with `trap` one that fails at times.
class ParrotRunner final : public ModelRunner {
public:
    explicit ParrotRunner(std::int64_t trap) : trap_(trap) {}
    RunnerLimits limits() const override {
        RunnerLimits limits = FakeRunner::small_limits();
        limits.n_ctx = 200;
        limits.max_step_tokens = 64;
        limits.max_logit_rows = 32;
        return limits;
    }
    std::span<const float> forward(const Batch& batch) override {
        result_.assign(batch.logit_rows.size() * kVocab, 0.0F);
        for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
            const std::int32_t position = batch.positions[static_cast<std::size_t>(batch.logit_rows[i])];
            const std::int32_t next = trap_ > 0 && position % trap_ == 0 ? 40 : (position + 1) % 7;
            result_[i * kVocab + static_cast<std::size_t>(next)] = 10.0F;
        }
        return result_;
    }
    std::span<const float> hidden_states(const Batch&) override { return {}; }

private:
    std::int64_t trap_;
    std::vector<float> result_;
};

EngineStats run_parrot(std::int64_t trap, std::int64_t guesses, std::int64_t n, Collected& result) {
    auto owned = std::make_unique<ParrotRunner>(trap);
    Engine engine(std::move(owned), fake_vocabulary(), {.max_batch = 4, .prompt_lookup = guesses});
    RequestSpec spec = request(1, {0, 1, 2, 3, 4, 5, 6, 0, 1}, n);
    spec.sampling.logprobs = 0;
    engine.submit(spec);
    Results results;
    for (int i = 0; i < 100 && results[{1, 0}].n_finished == 0; ++i)
        collect(engine.outputs().wait(0.1), results);
    result = results[{1, 0}];
    return engine.stats();
}

// Counts the rows of its batches, and whether each is a sequence of its own.
class RowsWatcher final : public ModelRunner {
public:
    explicit RowsWatcher(std::int64_t expected) : inner_(FakeRunner::small_limits()), expected_(expected) {}
    RunnerLimits limits() const override { return inner_.limits(); }
    std::span<const float> forward(const Batch& batch) override {
        watch(batch);
        return inner_.forward(batch);
    }
    std::span<const float> hidden_states(const Batch& batch) override {
        watch(batch);
        return inner_.hidden_states(batch);
    }

private:
    void watch(const Batch& batch) const {
        const auto rows = static_cast<std::int64_t>(batch.tokens.size());
        const auto wanted = static_cast<std::int64_t>(batch.logit_rows.size());
        CHECK(rows == expected_ && (wanted == 0 || wanted == rows));
        CHECK(batch.row_starts.size() == batch.tokens.size() + 1);
    }

    FakeRunner inner_;
    std::int64_t expected_;
};

}  // namespace

LLMCORE_TEST(guesses_are_what_followed_the_longest_ending) {
    using Tokens = std::vector<std::int32_t>;
    CHECK(look_up_continuation(Tokens{1, 2, 3, 9, 1, 2}, 3) == (Tokens{3, 9, 1}));
    CHECK(look_up_continuation(Tokens{1, 2, 3, 9, 1, 2}, 1) == (Tokens{3}));
    // The later of two, and the longer one before it.
    CHECK(look_up_continuation(Tokens{1, 2, 3, 0, 1, 2, 4, 0, 1, 2}, 1) == (Tokens{4}));
    CHECK(look_up_continuation(Tokens{7, 1, 2, 3, 0, 1, 2, 4, 7, 1, 2}, 1) == (Tokens{3}));
    CHECK(look_up_continuation(Tokens{1, 2, 3, 2}, 5).empty());
    CHECK(look_up_continuation(Tokens{5, 5, 5, 5}, 9) == (Tokens{5}));
    CHECK(look_up_continuation(Tokens{}, 4).empty() && look_up_continuation(Tokens{1, 1, 1}, 0).empty());
}

LLMCORE_TEST(guess_length_follows_success) {
    GuessLength length(8);
    CHECK(length.next() == 8);
    length.learn(8, 2);
    CHECK(length.next() == 3);
    length.learn(3, 3);
    CHECK(length.next() == 6);
    length.learn(6, 0);
    CHECK(length.next() == 0);  // a pause
    CHECK(length.next() == 0);
    CHECK(length.next() == 1);
}

LLMCORE_TEST(engine_guessing_gives_the_same_tokens_in_fewer_steps) {
    for (const std::int64_t trap : {0, 5, 11}) {
        for (const std::int64_t n : {1, 2, 7, 100}) {
            Collected plain;
            Collected guessed;
            const EngineStats slow = run_parrot(trap, 0, n, plain);
            const EngineStats fast = run_parrot(trap, 6, n, guessed);
            CHECK(plain.tokens.size() == static_cast<std::size_t>(n));
            CHECK(guessed.tokens == plain.tokens && guessed.text == plain.text);
            CHECK(guessed.last.completion_tokens == n);
            CHECK(slow.guessed_tokens == 0 && fast.accepted_tokens <= fast.guessed_tokens);
            CHECK(fast.steps == slow.steps - fast.accepted_tokens);
            if (trap == 0 && n == 100) CHECK(fast.steps < slow.steps / 3);
            if (trap > 0 && n == 100) CHECK(fast.accepted_tokens < fast.guessed_tokens);
            CHECK(fast.generated_tokens == n && fast.kv_blocks_free == fast.kv_blocks_total);
        }
    }
}

LLMCORE_TEST(engine_guessing_in_a_crowd_equals_each_alone) {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.kv_blocks = 40;
    Rig rig(limits, {.max_batch = 5, .prompt_lookup = 3});
    for (std::uint64_t id = 1; id <= 30; ++id) {
        // Prompts of few different tokens: endings repeat, and what followed them is mostly wrong.
        std::vector<std::int32_t> prompt = prompt_of(id, 20);
        for (std::int32_t& token : prompt) token %= 3;
        RequestSpec spec = request(id, prompt, 10 + static_cast<std::int64_t>(id % 30));
        spec.n = id % 7 == 0 ? 2 : 1;
        rig.engine->submit(spec);
    }
    CHECK(rig.await(34));
    for (std::uint64_t id = 1; id <= 30; ++id) {
        std::vector<std::int32_t> prompt = prompt_of(id, 20);
        for (std::int32_t& token : prompt) token %= 3;
        CHECK(rig.result(id).tokens == alone(prompt, 10 + static_cast<std::int64_t>(id % 30)));
    }
    CHECK(rig.engine->stats().guessed_tokens > 0);
    CHECK(!rig.runner->overfull);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(fixed_rows_give_what_the_model_gives) {
    for (const std::int64_t n_rows : {1, 3, 4}) {
        Engine engine(std::make_unique<FixedRowsRunner>(std::make_unique<RowsWatcher>(n_rows), n_rows),
                      fake_vocabulary(), {.max_batch = 4});
        Results results;
        for (std::uint64_t id = 1; id <= 6; ++id) engine.submit(request(id, prompt_of(id, 3 + 5 * id), 9));
        RequestSpec embed = request(7, prompt_of(7, 10), 1);
        embed.kind = RequestKind::embed;
        engine.submit(embed);
        RequestSpec logits = request(8, prompt_of(8, 10), 1);
        logits.kind = RequestKind::logits;
        engine.submit(logits);
        for (std::size_t n_done = 0, i = 0; n_done < 8 && i < 100; ++i) {
            collect(engine.outputs().wait(0.1), results);
            n_done = 0;
            for (const auto& [key, c] : results) n_done += c.n_finished;
        }
        for (std::uint64_t id = 1; id <= 6; ++id) {
            CHECK((results[{id, 0}].tokens == alone(prompt_of(id, 3 + 5 * id), 9)));
        }
        // The last token and its place, averaged: see FakeRunner.
        const std::vector<std::int32_t> prompt = prompt_of(7, 10);
        float sum = 0.0F;
        for (const std::int32_t token : prompt) sum += static_cast<float>(token);
        CHECK((results[{7, 0}].last.values == std::vector<float>{sum / 10.0F, 5.5F}));
        CHECK((results[{8, 0}].last.values.size() == 10 * kVocab));
        const EngineStats stats = engine.stats();
        CHECK(stats.failed == 0 && stats.kv_blocks_total == FakeRunner::small_limits().kv_blocks - 1);
    }
    CHECK_THROWS(ErrorCode::invalid_argument,
                 FixedRowsRunner(std::make_unique<FakeRunner>(FakeRunner::small_limits()), 9));
}

}  // namespace llmcore::test
