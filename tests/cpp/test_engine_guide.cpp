// Guided requests: the guide has the last word, and where it has none the request ends.
#include <atomic>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine_rig.h"

namespace llmcore::test {

namespace {

// Permits the letters of `text` one after the other, then the end; what it did stays visible to the test.
struct SpellingGuide final : TokenGuide {
    struct Seen {
        std::map<std::pair<std::uint64_t, std::int64_t>, std::vector<std::int32_t>> told;
        std::atomic<int> calls{0};
        std::atomic<int> ended{0};
        std::thread::id thread;
    };

    SpellingGuide(std::string text, std::shared_ptr<Seen> seen)
        : text_(std::move(text)), seen_(std::move(seen)) {}

    std::vector<std::string> advance(std::span<const GuideQuery> queries,
                                     std::span<const GuidedSequence> ended,
                                     std::span<std::uint32_t> masks) override {
        ++seen_->calls;
        seen_->ended += static_cast<int>(ended.size());
        seen_->thread = std::this_thread::get_id();
        std::vector<std::string> errors(queries.size());
        for (std::size_t i = 0; i < queries.size(); ++i) {
            const GuideQuery& q = queries[i];
            auto& told = seen_->told[{q.sequence.request, q.sequence.index}];
            if (q.token >= 0) told.push_back(q.token);
            if (text_.empty()) throw std::runtime_error("no text");
            const std::size_t place = told.size();
            if (place < text_.size() && text_[place] == '!') errors[i] = "a bad place";
            if (place < text_.size() && text_[place] < 'a') continue;  // nothing is permitted
            const std::size_t token =
                place < text_.size() ? static_cast<std::size_t>(text_[place] - 'a') : std::size_t{kVocab};
            masks[i * static_cast<std::size_t>(mask_words(kVocab)) + token / 32] |= 1U << (token % 32);
        }
        return errors;
    }

private:
    std::string text_;
    std::shared_ptr<Seen> seen_;
};

RequestSpec guided(std::uint64_t id, std::int64_t n = 1) {
    RequestSpec spec = request(id, prompt_of(id, 5), 20);
    spec.guided = true;
    spec.n = n;
    return spec;
}

Rig rig_spelling(const std::string& text, const std::shared_ptr<SpellingGuide::Seen>& seen) {
    return Rig(FakeRunner::small_limits(), {.max_batch = 4}, std::make_unique<SpellingGuide>(text, seen));
}

}  // namespace

LLMCORE_TEST(engine_guided_requests_keep_to_the_guide) {
    const auto seen = std::make_shared<SpellingGuide::Seen>();
    Rig rig = rig_spelling("hello", seen);
    rig.engine->submit(guided(1, 3));
    rig.engine->submit(request(2, prompt_of(2, 30), 12));
    RequestSpec stubborn = guided(3);
    stubborn.ignore_eos = true;
    stubborn.sampling.min_tokens = 10;
    rig.engine->submit(stubborn);
    CHECK(rig.await(5));
    for (std::int64_t index = 0; index < 3; ++index) {
        CHECK(rig.result(1, index).text == "hello");
        CHECK(rig.result(1, index).last.finish == FinishReason::stop);
        CHECK(rig.result(1, index).last.completion_tokens == 5);
    }
    CHECK(rig.result(3).text == "hello");
    CHECK(rig.result(2).tokens == alone(prompt_of(2, 30), 12));
    rig.stop();
    CHECK(seen->told.size() == 4);
    CHECK((seen->told[{1, 2}] == std::vector<std::int32_t>{7, 4, 11, 11, 14}));
    CHECK(seen->ended == 4);
    CHECK(seen->thread != std::this_thread::get_id());
    CHECK(rig.blocks_used() == 0);
}

LLMCORE_TEST(engine_without_guided_requests_asks_nothing) {
    const auto seen = std::make_shared<SpellingGuide::Seen>();
    Rig rig = rig_spelling("hello", seen);
    rig.engine->submit(request(1, prompt_of(1, 5), 9));
    CHECK(rig.await(1));
    rig.stop();
    CHECK(seen->calls == 0);
}

LLMCORE_TEST(engine_guided_requests_fail_closed) {
    for (const std::string text : {"", "ab!", "ab?"}) {
        const auto seen = std::make_shared<SpellingGuide::Seen>();
        Rig rig = rig_spelling(text, seen);
        rig.engine->submit(guided(1));
        rig.engine->submit(request(2, prompt_of(2, 5), 8));
        CHECK(rig.await(2));
        CHECK(rig.result(1).last.finish == FinishReason::error);
        CHECK(rig.result(1).last.error_code == ErrorCode::grammar);
        CHECK(rig.result(1).text == text.substr(0, text.size() < 2 ? 0 : 2));
        CHECK(rig.result(2).tokens == alone(prompt_of(2, 5), 8));
        CHECK(rig.blocks_used() == 0);
    }
    Rig none;
    CHECK_THROWS(ErrorCode::invalid_argument, none.engine->submit(guided(1)));
}

LLMCORE_TEST(engine_preempted_guided_requests_go_on) {
    const auto seen = std::make_shared<SpellingGuide::Seen>();
    RunnerLimits limits = FakeRunner::small_limits();
    limits.n_ctx = 200;
    limits.kv_blocks = 60;
    const std::string text(120, 'q');
    Rig rig(limits, {.max_batch = 4}, std::make_unique<SpellingGuide>(text, seen));
    for (std::uint64_t id = 1; id <= 5; ++id) {
        RequestSpec spec = guided(id);
        spec.max_tokens = 150;
        rig.engine->submit(spec);
    }
    CHECK(rig.await(5));
    for (std::uint64_t id = 1; id <= 5; ++id) CHECK(rig.result(id).text == text);
    CHECK(rig.engine->stats().preemptions > 0);
}

LLMCORE_TEST(engine_cancelled_guided_requests_are_forgotten) {
    const auto seen = std::make_shared<SpellingGuide::Seen>();
    Rig rig(FakeRunner::small_limits(), {.max_batch = 4},
            std::make_unique<SpellingGuide>(std::string(50, 'x'), seen));
    rig.runner->step_microseconds = 5000;
    RequestSpec spec = guided(1, 2);
    spec.max_tokens = 50;
    rig.engine->submit(spec);
    collect(rig.engine->outputs().wait(5.0), rig.results);
    rig.engine->abort(1);
    CHECK(rig.await(2));
    rig.stop();
    CHECK(seen->ended == 2);  // though no step came after
}

}  // namespace llmcore::test
