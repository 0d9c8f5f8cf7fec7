// The engine over a fake model: what each request gets is compared with what it would get alone.
#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/text_stream.h"
#include "engine_rig.h"

namespace llmcore::test {

LLMCORE_TEST(engine_interleaved_requests_equal_each_alone) {
    Rig rig;
    for (std::uint64_t id = 1; id <= 12; ++id)
        rig.engine->submit(request(id, prompt_of(id, 1 + id * 3), 9 + id % 5));
    CHECK(rig.await(12));
    for (std::uint64_t id = 1; id <= 12; ++id) {
        const std::int64_t n = 9 + static_cast<std::int64_t>(id % 5);
        const Collected& c = rig.result(id);
        CHECK(c.tokens == alone(prompt_of(id, 1 + id * 3), n));
        CHECK(c.text == letters(c.tokens));
        CHECK(c.last.finish == FinishReason::length);
        CHECK(c.last.prompt_tokens == static_cast<std::int64_t>(1 + id * 3) && c.last.completion_tokens == n);
        CHECK(c.last.request_done && c.n_finished == 1);
        CHECK(c.last.total_seconds >= c.last.first_token_seconds);
    }
    CHECK(!rig.runner->overfull);
    CHECK(rig.blocks_used() == 0);
    CHECK(rig.engine->stats().requests == 12);
}

LLMCORE_TEST(engine_threads_that_share_a_step_s_rows_change_nothing) {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.n_vocab = 40'000;
    Rig single(limits, {.max_batch = 8}), shared(limits, {.max_batch = 8}, nullptr, 3);
    for (Rig* rig : {&single, &shared}) {
        for (std::uint64_t id = 1; id <= 10; ++id) {
            RequestSpec spec = request(id, prompt_of(id, 3 + id), 20);
            spec.sampling.temperature = id % 2 == 0 ? 0.0F : 1.0F;
            spec.sampling.repetition_penalty = id % 3 == 0 ? 1.1F : 1.0F;
            spec.sampling.seed = id;
            spec.sampling.logit_bias = {{kThrowToken, -1000.0F}, {kNanToken, -1000.0F}};
            if (id % 4 < 2) spec.sampling.logprobs = 2;
            if (id == 7) spec.prompt = {1, kNanToken};
            rig->engine->submit(spec);
        }
        CHECK(rig->await(10));
    }
    CHECK(shared.result(7).last.finish == FinishReason::error);
    CHECK(shared.result(7).last.error_message == single.result(7).last.error_message);
    for (std::uint64_t id = 1; id <= 10; ++id) {
        CHECK(shared.result(id).tokens == single.result(id).tokens);
        CHECK(shared.result(id).logprobs == single.result(id).logprobs);
        CHECK(shared.result(id).logprobs.size() == (id % 4 < 2 ? shared.result(id).tokens.size() : 0));
    }
}

LLMCORE_TEST(engine_stops_at_strings_across_steps) {
    Rig rig;
    const auto prompt = prompt_of(5, 6);
    const auto expected = alone(prompt, 20);
    const std::string text = letters(expected);
    RequestSpec spec = request(1, prompt, 20);
    spec.stop = {text.substr(7, 4)};  // one token a letter: the match ends four steps after it began
    const std::size_t at = text.find(spec.stop[0]);
    rig.engine->submit(spec);
    CHECK(rig.await(1));
    CHECK(rig.result(1).text == text.substr(0, at));
    CHECK(rig.result(1).last.finish == FinishReason::stop);
    CHECK(rig.result(1).tokens.size() == at + 4);

    // Before min_tokens the same text passes.
    spec.id = 2;
    spec.sampling.min_tokens = 12;
    rig.engine->submit(spec);
    CHECK(rig.await(2));
    CHECK(rig.result(2).text == text);
}

LLMCORE_TEST(engine_stop_prefix_is_released_at_the_end) {
    Rig rig;
    const auto prompt = prompt_of(8, 6);
    const std::string text = letters(alone(prompt, 5));
    RequestSpec spec = request(1, prompt, 5);
    spec.stop = {text.substr(3) + "#"};  // held back from the fourth letter on, never completed
    rig.engine->submit(spec);
    CHECK(rig.await(1));
    CHECK(rig.result(1).text == text);
    CHECK(rig.result(1).last.finish == FinishReason::length);
}

LLMCORE_TEST(engine_end_and_stop_tokens) {
    Rig rig;
    RequestSpec spec = request(1, {1, 2, 3}, 10);
    spec.sampling.logit_bias = {{kEndToken, 100.0F}};
    rig.engine->submit(spec);
    spec.id = 2;
    spec.sampling.min_tokens = 4;  // held back three times, then the end
    rig.engine->submit(spec);
    spec.id = 3;
    spec.ignore_eos = true;  // never ends; the token adds no text
    rig.engine->submit(spec);
    spec = request(4, {1, 2, 3}, 10);
    spec.stop_token_ids = {alone({1, 2, 3}, 3)[2]};
    rig.engine->submit(spec);
    CHECK(rig.await(4));
    CHECK(rig.result(1).last.finish == FinishReason::stop && rig.result(1).tokens.empty());
    CHECK(rig.result(1).text.empty() && rig.result(1).last.completion_tokens == 1);
    CHECK(rig.result(2).tokens == alone({1, 2, 3}, 4));
    CHECK(rig.result(2).last.finish == FinishReason::stop);
    CHECK(rig.result(3).last.finish == FinishReason::length && rig.result(3).tokens.size() == 10);
    CHECK(rig.result(3).text.empty());
    CHECK(rig.result(4).last.finish == FinishReason::stop);
    CHECK(rig.result(4).text == letters(rig.result(4).tokens) && rig.result(4).tokens.size() <= 2);
}

LLMCORE_TEST(engine_context_limits) {
    Rig rig;
    rig.engine->submit(request(1, prompt_of(1, 60), 100));
    CHECK(rig.await(1));
    CHECK(rig.result(1).tokens.size() == 4);  // the context of 64 is full
    CHECK(rig.result(1).last.finish == FinishReason::length);
    CHECK_THROWS(ErrorCode::context_length, rig.engine->submit(request(2, prompt_of(1, 64), 1)));
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(request(2, {}, 1)));
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(request(2, {kVocab}, 1)));
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(request(2, {-1}, 1)));
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(request(2, {1}, 0)));
    CHECK(rig.engine->stats().requests == 1);
}

LLMCORE_TEST(engine_full_queue_refuses) {
    Rig rig(FakeRunner::small_limits(), {.max_batch = 1, .max_queue = 2});
    rig.runner->step_microseconds = 2000;
    std::uint64_t accepted = 0;
    bool refused = false;
    for (std::uint64_t id = 1; id <= 8 && !refused; ++id) {
        try {
            rig.engine->submit(request(id, {1, 2}, 30));
            ++accepted;
        } catch (const Error& error) {
            refused = error.code() == ErrorCode::queue_full;
        }
    }
    CHECK(refused);
    CHECK(accepted >= 2 && accepted <= 4);
    CHECK(rig.await(accepted));
    rig.engine->submit(request(100, {1, 2}, 3));  // there is room again
    CHECK(rig.await(accepted + 1));
}

LLMCORE_TEST(engine_cancels_only_the_request_named) {
    Rig rig(FakeRunner::small_limits(), {.max_batch = 2});
    rig.runner->step_microseconds = 1000;
    rig.engine->submit(request(1, prompt_of(1, 3), 50));   // decodes
    rig.engine->submit(request(2, prompt_of(2, 50), 10));  // a prompt of several steps
    rig.engine->submit(request(3, prompt_of(3, 3), 50));   // waits for a place
    rig.engine->submit(request(4, prompt_of(4, 3), 5));
    rig.engine->abort(3);
    rig.engine->abort(2);
    rig.engine->abort(77);
    CHECK(rig.await(4));
    CHECK(rig.result(1).tokens == alone(prompt_of(1, 3), 50));
    CHECK(rig.result(4).tokens == alone(prompt_of(4, 3), 5));
    for (const std::uint64_t id : {2, 3}) {
        CHECK(rig.result(id).last.finish == FinishReason::cancelled);
        CHECK(rig.result(id).tokens.empty());
    }
    // One that decodes.
    rig.engine->submit(request(5, prompt_of(5, 3), 60));
    while (rig.result(5).tokens.size() < 2) collect(rig.engine->outputs().wait(0.1), rig.results);
    rig.engine->abort(5);
    CHECK(rig.await(5));
    CHECK(rig.result(5).last.finish == FinishReason::cancelled);
    CHECK(rig.result(5).tokens.size() >= 2 && rig.result(5).tokens.size() < 60);
    CHECK(rig.result(5).text == letters(rig.result(5).tokens));
    CHECK(rig.blocks_used() == 0);
    CHECK(rig.engine->stats().cancelled == 3);
}

LLMCORE_TEST(engine_abort_storm_leaves_no_block) {
    Rig rig(FakeRunner::small_limits(), {.max_batch = 4, .max_queue = 10000});
    rig.runner->step_microseconds = 50;
    constexpr std::uint64_t kThreads = 4;
    constexpr std::uint64_t kEach = 50;
    std::vector<std::thread> clients;
    for (std::uint64_t t = 0; t < kThreads; ++t) {
        clients.emplace_back([&rig, t] {
            Random random(t);
            for (std::uint64_t i = 0; i < kEach; ++i) {
                const std::uint64_t id = 1 + t * kEach + i;
                RequestSpec spec = request(id, prompt_of(id, 1 + random.below(40)), 1 + random.next() % 20);
                spec.n = 1 + static_cast<std::int64_t>(random.below(3));
                rig.engine->submit(std::move(spec));
                if (random.below(2) == 0) rig.engine->abort(id);
                if (random.below(4) == 0) rig.engine->abort(1 + random.below(kThreads * kEach));
            }
        });
    }
    for (std::thread& client : clients) client.join();
    std::size_t n_done = 0;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (n_done < kThreads * kEach && std::chrono::steady_clock::now() < deadline) {
        std::vector<Output> outputs = rig.engine->outputs().wait(0.1);
        for (const Output& output : outputs) n_done += output.request_done ? 1 : 0;
        collect(std::move(outputs), rig.results);
    }
    CHECK(n_done == kThreads * kEach);
    CHECK(rig.blocks_used() == 0);
    CHECK(rig.engine->stats().running == 0 && rig.engine->stats().waiting == 0);
    CHECK(!rig.runner->overfull);
    for (const auto& [key, c] : rig.results) {
        CHECK(c.n_finished == 1);
        const auto expected = alone(prompt_of(key.first, static_cast<std::size_t>(c.last.prompt_tokens)),
                                    static_cast<std::int64_t>(c.tokens.size()));
        CHECK(c.tokens == expected);
    }
}

LLMCORE_TEST(engine_failed_step_ends_its_requests_only) {
    Rig rig(FakeRunner::small_limits(), {.max_batch = 1});
    rig.engine->submit(request(1, {1, kThrowToken}, 5));
    rig.engine->submit(request(2, {1, kNanToken}, 5));
    rig.engine->submit(request(3, {1, 2}, 5));
    CHECK(rig.await(3));
    CHECK(rig.result(1).last.finish == FinishReason::error);
    CHECK(rig.result(1).last.error_message.find("poisoned") != std::string::npos);
    CHECK(rig.result(2).last.finish == FinishReason::error);
    CHECK(rig.result(2).last.error_code == ErrorCode::model);
    CHECK(rig.result(3).tokens == alone({1, 2}, 5));
    CHECK(rig.engine->stats().failed == 2);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_nan_leaves_the_rest_of_the_batch) {
    Rig rig;
    rig.engine->submit(request(1, prompt_of(1, 4), 30));
    rig.engine->submit(request(2, {1, kNanToken}, 5));
    CHECK(rig.await(2));
    CHECK(rig.result(1).tokens == alone(prompt_of(1, 4), 30));
    CHECK(rig.result(2).last.finish == FinishReason::error);
}

LLMCORE_TEST(engine_several_sequences_of_a_request) {
    Rig rig;
    RequestSpec spec = request(1, prompt_of(3, 5), 12);
    spec.n = 3;
    spec.sampling.temperature = 8.0F;  // flat enough that seeds matter
    spec.sampling.seed = 11;
    spec.sampling.logit_bias = {{kThrowToken, -1000.0F}, {kNanToken, -1000.0F}};
    rig.engine->submit(spec);
    spec.id = 2;
    rig.engine->submit(spec);
    CHECK(rig.await(6));
    for (std::int64_t i = 0; i < 3; ++i) CHECK(rig.result(1, i).tokens == rig.result(2, i).tokens);
    CHECK(rig.result(1, 0).tokens != rig.result(1, 1).tokens);
    CHECK(rig.result(1, 1).tokens != rig.result(1, 2).tokens);
}

LLMCORE_TEST(engine_logits_embeddings_and_text_share_it) {
    Rig rig;
    RequestSpec logits = request(1, prompt_of(1, 30), 1);
    logits.kind = RequestKind::logits;
    RequestSpec embed = request(2, {1, 2, 3, 6}, 1);
    embed.kind = RequestKind::embed;
    rig.engine->submit(request(3, prompt_of(3, 3), 60));
    rig.engine->submit(logits);
    rig.engine->submit(embed);
    CHECK(rig.await(3));
    const std::vector<float>& rows = rig.result(1).last.values;
    CHECK(rows.size() == 30U * kVocab);
    const auto prompt = prompt_of(1, 30);
    for (std::size_t i = 0; i < 30 && rows.size() == 30U * kVocab; ++i) {
        CHECK(rows[i * kVocab + static_cast<std::size_t>(next_token({prompt.data(), i + 1}))] == 10.0F);
    }
    CHECK((rig.result(2).last.values == std::vector<float>{3.0F, 2.5F}));
    CHECK(rig.result(3).tokens == alone(prompt_of(3, 3), 60));
}

LLMCORE_TEST(engine_reports_logprobs) {
    Rig rig;
    RequestSpec spec = request(1, prompt_of(1, 20), 3);
    spec.sampling.logprobs = 2;
    spec.prompt_logprobs = 1;
    spec.score = true;
    rig.engine->submit(spec);
    std::vector<Output> all;
    while (all.empty() || !all.back().request_done) {
        for (Output& output : rig.engine->outputs().wait(0.1)) all.push_back(std::move(output));
    }
    CHECK(all.size() == 3);
    CHECK(all[0].prompt_logprobs && all[0].prompt_logprobs->size() == 19);
    CHECK(!all[1].prompt_logprobs);
    // 63 logits are 0, one is 10.
    const double log_total = std::log(std::exp(10.0) + 63.0);
    for (const Output& output : all) {
        CHECK(output.logprobs.size() == 1 && output.logprobs[0].top.size() == 2);
        CHECK(std::abs(output.logprobs[0].chosen.logprob - (10.0 - log_total)) < 1e-6);
        CHECK(output.logprobs[0].top[0].token == output.tokens[0]);
        CHECK(std::abs(output.logprobs[0].top[1].logprob + log_total) < 1e-5);
    }
    CHECK(all[2].logprob_sum && std::abs(*all[2].logprob_sum - 3 * (10.0 - log_total)) < 1e-5);
}

LLMCORE_TEST(engine_preempted_requests_equal_each_alone) {
    RunnerLimits limits = FakeRunner::small_limits();
    limits.n_ctx = 200;
    limits.kv_blocks = 60;  // 240 tokens for up to four times 200
    Rig rig(limits);
    for (std::uint64_t id = 1; id <= 6; ++id) rig.engine->submit(request(id, prompt_of(id, 10 + id), 150));
    RequestSpec spec = request(7, prompt_of(7, 50), 100);
    spec.prompt_logprobs = 0;  // may not be preempted
    rig.engine->submit(spec);
    CHECK(rig.await(7));
    for (std::uint64_t id = 1; id <= 6; ++id) {
        CHECK(rig.result(id).tokens == alone(prompt_of(id, 10 + id), 150));
        CHECK(rig.result(id).text == letters(rig.result(id).tokens));
    }
    CHECK(rig.result(7).tokens == alone(prompt_of(7, 50), 100));
    CHECK(rig.engine->stats().preemptions > 0);
    CHECK(rig.engine->stats().prompt_tokens == 6 * 10 + 21 + 50);
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_stop_cancels_what_is_left) {
    Rig rig;
    rig.runner->step_microseconds = 2000;
    for (std::uint64_t id = 1; id <= 6; ++id) rig.engine->submit(request(id, prompt_of(id, 4), 60));
    rig.stop();
    CHECK(rig.finished() == 6);
    for (std::uint64_t id = 1; id <= 6; ++id) CHECK(rig.result(id).last.finish == FinishReason::cancelled);
    CHECK_THROWS(ErrorCode::invalid_argument, rig.engine->submit(request(9, {1}, 1)));
    CHECK(rig.engine->outputs().wait(5.0).empty());  // closed: returns at once
}

LLMCORE_TEST(text_stream_characters_and_first_space) {
    const Vocabulary vocabulary = fake_vocabulary();
    TextStream stream(vocabulary, {}, true);
    CHECK(stream.push(52, true).empty());  // the first word's space
    CHECK(stream.push(53, true).empty());  // half a character
    CHECK(stream.push(54, true) == "\xC3\xA9");
    CHECK(stream.push(52, true) == " ");
    CHECK(stream.push(kEndToken, true).empty());
    CHECK(stream.push(kVocab + 5, true).empty());  // padding beyond the vocabulary
    CHECK(stream.push(53, true).empty());
    CHECK(stream.flush().empty());
    TextStream continued(vocabulary, {}, false);
    CHECK(continued.push(52, true) == " ");
    CHECK(begins_text(vocabulary, {kEndToken}) && !begins_text(vocabulary, {kEndToken, 3}));
}

}  // namespace llmcore::test
