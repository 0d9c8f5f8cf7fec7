// Embeddings in the engine: pooling over the chunks of a prompt, and models that want whole prompts.
#include <cstdint>
#include <vector>

#include "engine_rig.h"
#include "harness.h"

namespace llmcore::test {

namespace {

RequestSpec embedding(std::uint64_t id, std::vector<std::int32_t> prompt, std::optional<Pooling> pooling) {
    RequestSpec spec = request(id, std::move(prompt), 1);
    spec.kind = RequestKind::embed;
    spec.pooling = pooling;
    return spec;
}

RunnerLimits encoder_limits() {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.max_step_tokens = limits.max_logit_rows = limits.n_ctx;
    limits.encodes = true;
    return limits;
}

}  // namespace

// The fake model's states are a token and how many tokens there are with it.
LLMCORE_TEST(embeddings_are_pooled_over_the_chunks_of_a_prompt) {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.pooling = Pooling::last;
    Rig rig(limits);
    const std::vector<std::int32_t> prompt = prompt_of(1, 50);
    rig.engine->submit(embedding(1, prompt, Pooling::mean));
    rig.engine->submit(embedding(2, prompt, Pooling::cls));
    rig.engine->submit(embedding(3, prompt, Pooling::last));
    rig.engine->submit(embedding(4, prompt, std::nullopt));
    CHECK(rig.await(4));
    CHECK(rig.engine->stats().steps >= 200 / 8);
    double sum = 0.0;
    for (const std::int32_t token : prompt) sum += token;
    const std::vector<float> last = {static_cast<float>(prompt.back()), 50.0F};
    CHECK((rig.result(1).last.values == std::vector<float>{static_cast<float>(sum / 50.0), 25.5F}));
    CHECK((rig.result(2).last.values == std::vector<float>{static_cast<float>(prompt.front()), 1.0F}));
    CHECK(rig.result(3).last.values == last);
    CHECK(rig.result(4).last.values == last);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(whole_prompts_run_in_one_step) {
    Rig rig(encoder_limits());
    rig.runner->step_microseconds = 2000;  // so that the others wait together
    for (std::uint64_t id = 1; id <= 20; ++id)
        rig.engine->submit(embedding(id, prompt_of(id, 1 + id * 3), Pooling::mean));
    CHECK(rig.await(20));
    for (std::uint64_t id = 1; id <= 20; ++id) {
        const auto n = static_cast<float>(1 + id * 3);
        CHECK(rig.result(id).last.values.size() == 2 && rig.result(id).last.values[1] == (n + 1) / 2);
    }
    CHECK(!rig.runner->overfull);
    CHECK(rig.engine->stats().steps <= 20);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(encoders_generate_nothing_and_say_what_fits) {
    Rig rig(encoder_limits());
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(request(1, {1, 2}, 3)));
    RequestSpec logits = request(1, {1, 2}, 1);
    logits.kind = RequestKind::logits;
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(logits));
    CHECK_THROWS(ErrorCode::context_length, rig.engine->submit(embedding(1, prompt_of(1, 65), {})));
    rig.engine->submit(embedding(1, prompt_of(1, 64), {}));
    CHECK(rig.await(1));
    CHECK(rig.engine->stats().steps == 1);
}

LLMCORE_TEST(a_step_without_room_for_the_context_is_refused) {
    RunnerLimits limits = encoder_limits();
    --limits.max_logit_rows;
    CHECK_THROWS(ErrorCode::invalid_argument, Rig(limits).stop());
}

}  // namespace llmcore::test
