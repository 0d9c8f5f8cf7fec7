// An engine over a fake model, and what its requests should give.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "fake_runner.h"
#include "harness.h"

namespace llmcore::test {

struct Collected {
    std::string text;
    std::vector<std::int32_t> tokens;
    std::vector<float> logprobs;  // of the tokens, if asked for
    Output last;
    std::size_t n_finished = 0;
    bool done = false;
};
using Results = std::map<std::pair<std::uint64_t, std::int64_t>, Collected>;

inline void collect(std::vector<Output> outputs, Results& results) {
    for (Output& output : outputs) {
        Collected& c = results[{output.request, output.index}];
        c.text += output.text;
        c.tokens.insert(c.tokens.end(), output.tokens.begin(), output.tokens.end());
        for (const TokenLogprobs& found : output.logprobs) c.logprobs.push_back(found.chosen.logprob);
        if (output.finish != FinishReason::none) {
            ++c.n_finished;
            c.last = std::move(output);
        }
    }
}

// An engine over a fake model that stays reachable for the test.
struct Rig {
    FakeRunner* runner;
    std::unique_ptr<Engine> engine;
    Results results;

    explicit Rig(RunnerLimits limits = FakeRunner::small_limits(), EngineConfig config = {.max_batch = 4},
                 std::unique_ptr<TokenGuide> guide = nullptr, int threads = 1) {
        auto owned = std::make_unique<FakeRunner>(limits);
        if (threads > 1) owned->pool = std::make_unique<ThreadPool>(threads);
        runner = owned.get();
        engine = std::make_unique<Engine>(std::move(owned), fake_vocabulary(), config, std::move(guide));
    }

    // Reads outputs until `n` sequences in all have finished; false after ten seconds.
    bool await(std::size_t n) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (finished() < n) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            collect(engine->outputs().wait(0.1), results);
        }
        return true;
    }
    // Stops the engine and reads what is left.
    void stop() {
        engine->stop();
        collect(engine->outputs().drain(), results);
    }
    std::size_t finished() const {
        std::size_t n = 0;
        for (const auto& [key, c] : results) n += c.n_finished;
        return n;
    }
    Collected& result(std::uint64_t request, std::int64_t index = 0) { return results[{request, index}]; }
    std::int64_t blocks_used() const {
        const EngineStats stats = engine->stats();
        return stats.kv_blocks_total - stats.kv_blocks_free;
    }
};

inline RequestSpec request(std::uint64_t id, std::vector<std::int32_t> prompt, std::int64_t max_tokens) {
    RequestSpec spec;
    spec.id = id;
    spec.prompt = std::move(prompt);
    spec.max_tokens = max_tokens;
    spec.sampling.temperature = 0.0F;
    return spec;
}

inline std::vector<std::int32_t> alone(std::vector<std::int32_t> prompt, std::int64_t n) {
    std::vector<std::int32_t> made;
    for (std::int64_t i = 0; i < n; ++i) {
        made.push_back(next_token(prompt));
        prompt.push_back(made.back());
    }
    return made;
}

inline std::string letters(const std::vector<std::int32_t>& tokens) {
    std::string text;
    for (const std::int32_t t : tokens) text += static_cast<char>(t < 26 ? 'a' + t : 'A' + t - 26);
    return text;
}

inline std::vector<std::int32_t> prompt_of(std::uint64_t seed, std::size_t length) {
    Random random(seed);
    std::vector<std::int32_t> prompt(length);
    for (std::int32_t& token : prompt) token = static_cast<std::int32_t>(random.below(52));
    return prompt;
}

}  // namespace llmcore::test
