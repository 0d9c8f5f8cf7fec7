// Cached prefixes: the text is what it would be alone, less of it is computed, and tenants share nothing.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "cache/block_key.h"
#include "engine_rig.h"

namespace llmcore::test {

namespace {

RequestSpec continuing(std::uint64_t id, std::uint64_t own, std::int64_t max_tokens) {
    std::vector<std::int32_t> prompt = prompt_of(77, 30);
    const auto rest = prompt_of(own, 1 + own % 7);
    prompt.insert(prompt.end(), rest.begin(), rest.end());
    return request(id, prompt, max_tokens);
}

}  // namespace

LLMCORE_TEST(engine_prefix_of_an_ended_request_is_reused) {
    Rig rig;
    rig.engine->submit(continuing(1, 1, 9));
    CHECK(rig.await(1));
    CHECK(rig.result(1).last.cached_tokens == 0);
    // 28 of the 30 tokens in common fill blocks of 4, the others are copied.
    rig.engine->submit(continuing(2, 2, 9));
    CHECK(rig.await(2));
    CHECK(rig.result(2).last.cached_tokens == 30);
    CHECK(rig.result(2).tokens == alone(continuing(2, 2, 9).prompt, 9));
    // What was generated is found as well.
    std::vector<std::int32_t> longer = continuing(2, 2, 9).prompt;
    longer.insert(longer.end(), rig.result(2).tokens.begin(), rig.result(2).tokens.end());
    rig.engine->submit(request(3, longer, 5));
    CHECK(rig.await(3));
    CHECK(rig.result(3).last.cached_tokens == static_cast<std::int64_t>(longer.size() - 1));
    CHECK(rig.result(3).tokens == alone(longer, 5));
    CHECK(rig.engine->stats().cached_prompt_tokens == 30 + rig.result(3).last.cached_tokens);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_prefix_of_a_live_request_is_reused) {
    Rig rig(FakeRunner::small_limits(), {.max_batch = 8});
    for (std::uint64_t id = 1; id <= 8; ++id) rig.engine->submit(continuing(id, id, 20));
    CHECK(rig.await(8));
    std::int64_t reused = 0;
    for (std::uint64_t id = 1; id <= 8; ++id) {
        CHECK(rig.result(id).tokens == alone(continuing(id, id, 20).prompt, 20));
        reused += rig.result(id).last.cached_tokens;
    }
    CHECK(reused == 7 * 30);  // the first computed it for all
}

LLMCORE_TEST(engine_sequences_of_a_request_share_its_prompt) {
    Rig rig;
    RequestSpec spec = continuing(1, 6, 12);
    spec.n = 4;
    rig.engine->submit(spec);
    CHECK(rig.await(4));
    for (std::int64_t index = 0; index < 4; ++index) {
        CHECK(rig.result(1, index).tokens == alone(spec.prompt, 12));
        CHECK(rig.result(1, index).last.cached_tokens == (index == 0 ? 0 : 36));
    }
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_tenants_share_no_prefix) {
    Rig rig;
    std::uint64_t id = 0;
    for (const std::string tenant : {"a", "b", "", "a"}) {
        RequestSpec spec = continuing(++id, 3, 4);
        spec.tenant = tenant;
        rig.engine->submit(spec);
        CHECK(rig.await(id));
        CHECK(rig.result(id).last.cached_tokens == (id == 4 ? 33 : 0));
        CHECK(rig.result(id).tokens == alone(spec.prompt, 4));
    }
}

LLMCORE_TEST(engine_prompt_logprobs_run_every_row) {
    Rig rig;
    RequestSpec spec = continuing(1, 5, 3);
    rig.engine->submit(spec);
    CHECK(rig.await(1));
    spec.id = 2;
    spec.prompt_logprobs = 0;
    rig.engine->submit(spec);
    CHECK(rig.await(2));
    CHECK(rig.result(2).last.cached_tokens == 0);
    CHECK(rig.result(2).tokens == alone(spec.prompt, 3));
    Rig off(FakeRunner::small_limits(), {.max_batch = 4, .prefix_cache = false});
    for (std::uint64_t id = 1; id <= 2; ++id) {
        off.engine->submit(continuing(id, 1, 3));
        CHECK(off.await(id));
        CHECK(off.result(id).last.cached_tokens == 0);
    }
}

LLMCORE_TEST(engine_prefixes_under_pressure_and_cancellation) {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.n_ctx = 120;
    limits.kv_blocks = 48;
    Rig rig(limits, {.max_batch = 6});
    Random random(3);
    for (std::uint64_t id = 1; id <= 60; ++id) {
        rig.engine->submit(
            continuing(id, 1 + random.below(12), 60 + static_cast<std::int64_t>(random.below(23))));
        if (id % 5 == 0) rig.engine->abort(id - random.below(5));
    }
    CHECK(rig.await(60));
    for (std::uint64_t id = 1; id <= 60; ++id) {
        const Collected& c = rig.result(id);
        const auto n = static_cast<std::int64_t>(c.tokens.size());
        bool found = false;
        for (std::uint64_t own = 1; own <= 12; ++own) {
            found = found || c.tokens == alone(continuing(id, own, 1).prompt, n);
        }
        CHECK(found);
        CHECK(c.n_finished == 1);
    }
    CHECK(rig.engine->stats().cached_prompt_tokens > 0);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_deadlines_end_requests_wherever_they_are) {
    Rig rig(FakeRunner::small_limits(), {.max_batch = 1});
    rig.runner->step_microseconds = 2000;
    RequestSpec running = request(1, prompt_of(1, 5), 50);
    running.deadline_seconds = 0.03;
    rig.engine->submit(running);
    RequestSpec queued = request(2, prompt_of(2, 5), 5);
    queued.deadline_seconds = 0.01;
    rig.engine->submit(queued);
    rig.engine->submit(request(3, prompt_of(3, 5), 5));
    CHECK(rig.await(3));
    for (std::uint64_t id = 1; id <= 2; ++id) {
        CHECK(rig.result(id).last.finish == FinishReason::error);
        CHECK(rig.result(id).last.error_code == ErrorCode::deadline);
    }
    CHECK(rig.result(2).tokens.empty());
    CHECK(rig.result(3).tokens == alone(prompt_of(3, 5), 5));
    const EngineStats stats = rig.engine->stats();
    CHECK(stats.expired == 2);
    CHECK(stats.wasted_tokens >= rig.result(1).last.completion_tokens && stats.wasted_tokens < 60);
    running.id = 4;
    running.deadline_seconds = -1.0;
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(running));
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_counts_what_cancelling_wasted) {
    Rig rig;
    rig.runner->step_microseconds = 10000;
    rig.engine->submit(request(1, prompt_of(1, 9), 50));
    collect(rig.engine->outputs().wait(5.0), rig.results);
    rig.engine->abort(1);
    CHECK(rig.await(1));
    CHECK(rig.engine->stats().wasted_tokens == 9 + rig.result(1).last.completion_tokens);
}

LLMCORE_TEST(block_keys_name_contents) {
    const BlockHasher hasher(0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL);
    const std::vector<std::int32_t> tokens = prompt_of(1, 12);
    const auto keys = hasher.chain(hasher.root("a"), tokens, 4);
    CHECK(keys.size() == 3);
    CHECK(keys == hasher.chain(hasher.root("a"), tokens, 4));
    std::set<std::uint64_t> seen;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        std::vector<std::int32_t> changed = tokens;
        changed[i] ^= 1;
        const auto others = hasher.chain(hasher.root("a"), changed, 4);
        for (std::size_t b = 0; b < 3; ++b) CHECK((others[b] == keys[b]) == (b < i / 4));
        seen.insert(others[2].high);
    }
    CHECK(seen.size() == tokens.size());
    CHECK(!(hasher.chain(hasher.root("b"), tokens, 4)[0] == keys[0]));
    CHECK(!(hasher.root("ab") == hasher.root("a") || hasher.root(std::string("a\0", 2)) == hasher.root("a")));
    CHECK(!(BlockHasher().root("a") == BlockHasher().root("a")));  // secret
}

}  // namespace llmcore::test
