#include "engine/pace.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>

#include "harness.h"

namespace llmcore::test {

namespace {

// A machine whose steps take a fixed time and then so much for a row; `load` is what others take from it.
struct Machine {
    double fixed, row;
    double load = 1.0;

    double seconds(std::int64_t rows) const { return load * (fixed + row * static_cast<double>(rows)); }
};

// Steps with a prompt that never ends beside `decoding` sequences; returns the longest of the last 100.
double mix(Pace& pace, const Machine& machine, std::int64_t decoding, int steps, std::int64_t* prompt_rows) {
    double longest = 0.0;
    *prompt_rows = 0;
    for (int step = 0; step < steps; ++step) {
        const std::int64_t rows = std::min<std::int64_t>(pace.prompt_rows(1), 256);
        const double took = machine.seconds(decoding + rows);
        pace.learn(took, rows, decoding);
        if (step < steps - 100) continue;
        longest = std::max(longest, took);
        *prompt_rows += rows;
    }
    return longest;
}

}  // namespace

LLMCORE_TEST(prompts_get_most_of_decodings_time_and_never_double_it) {
    for (const Machine machine :
         {Machine{.fixed = 0.030, .row = 0.008}, Machine{.fixed = 0.003, .row = 2e-5}}) {
        for (const std::int64_t decoding : {1, 4, 16}) {
            Pace pace({});
            pace.learn(machine.seconds(128), 128, 0);
            for (int step = 0; step < 20; ++step) pace.learn(machine.seconds(decoding), 0, decoding);
            std::int64_t rows = 0;
            const double longest = mix(pace, machine, decoding, 400, &rows);
            const double alone = machine.seconds(decoding);
            CHECK_MSG(longest < 2.0 * alone, std::to_string(longest / alone));
            const double most = 100 * std::min(256.0, std::floor(0.7 * alone / machine.row));
            CHECK_MSG(static_cast<double>(rows) > 0.8 * most,
                      std::to_string(rows) + " of " + std::to_string(most));
        }
    }
}

LLMCORE_TEST(sequences_that_join_while_prompts_are_read_count_as_decoding) {
    const Machine machine = {.fixed = 0.030, .row = 0.008};
    Pace pace({});
    pace.learn(machine.seconds(128), 128, 0);
    for (int step = 0; step < 20; ++step) pace.learn(machine.seconds(1), 0, 1);
    std::int64_t rows = 0;
    for (std::int64_t decoding = 1; decoding < 16; ++decoding) mix(pace, machine, decoding, 12, &rows);
    const double longest = mix(pace, machine, 16, 100, &rows);
    CHECK_MSG(longest < 2.0 * machine.seconds(16), std::to_string(longest));
    CHECK_MSG(rows > 1000, std::to_string(rows));
}

LLMCORE_TEST(where_more_wait_than_decode_prompts_get_more_in_proportion) {
    const Machine machine = {.fixed = 0.030, .row = 0.008};
    const auto rows = [&](std::optional<double> bound, std::int64_t waiting, std::int64_t decoding) {
        Pace pace(bound);
        pace.learn(machine.seconds(128), 128, 0);
        for (int step = 0; step < 20; ++step) pace.learn(machine.seconds(decoding), 0, decoding);
        std::int64_t sum = 0;
        for (int step = 0; step < 100; ++step) {
            const std::int64_t n = pace.prompt_rows(waiting);
            pace.learn(machine.seconds(decoding + n), n, decoding);
            sum += n;
        }
        return static_cast<double>(sum) / 100.0;
    };
    for (const std::int64_t decoding : {1, 4, 16}) {
        const double share = 0.7 * machine.seconds(decoding) / machine.row;
        for (const std::int64_t waiting : {1, 2, 4, 12, 31}) {
            const double expected =
                share * std::max(1.0, static_cast<double>(waiting) / static_cast<double>(decoding));
            const double free = rows({}, waiting, decoding);
            CHECK_MSG(free > 0.7 * expected && free <= expected, std::to_string(free / expected));
            // Who asked for a bound gets it, whoever waits.
            const double bounded = rows(0.001, waiting, decoding);
            CHECK_MSG(bounded > 0.7 * share && bounded <= share, std::to_string(bounded / share));
        }
    }
}

LLMCORE_TEST(what_is_soon_over_may_stretch_a_step_to_three_times) {
    const Machine machine = {.fixed = 0.030, .row = 0.008};
    for (const std::int64_t decoding : {1, 4, 16}) {
        Pace pace({}), bounded(0.001);
        for (Pace* learns : {&pace, &bounded}) {
            learns->learn(machine.seconds(decoding), 0, decoding);
            for (int step = 0; step < 20; ++step) learns->learn(machine.seconds(decoding + 16), 16, decoding);
        }
        const double most = std::floor(2.0 * machine.seconds(decoding) / machine.row);
        const auto rows = static_cast<double>(pace.prompt_rows(1, true));
        CHECK_MSG(rows <= most && rows > 0.8 * most, std::to_string(rows) + " of " + std::to_string(most));
        CHECK(bounded.prompt_rows(1, true) == bounded.prompt_rows(1));
    }
}

LLMCORE_TEST(a_hiccup_is_forgotten_and_a_slower_machine_is_noticed) {
    Machine machine = {.fixed = 0.030, .row = 0.008};
    Pace pace({});
    std::int64_t before = 0, after = 0;
    for (int step = 0; step < 20; ++step) pace.learn(machine.seconds(4), 0, 4);
    mix(pace, machine, 4, 200, &before);
    for (int step = 0; step < 3; ++step) pace.learn(1.0, 6, 4);
    mix(pace, machine, 4, 300, &after);
    CHECK_MSG(after * 10 > before * 9, std::to_string(after) + " after " + std::to_string(before));

    machine.load = 2.0;
    const double longest = mix(pace, machine, 4, 400, &after);
    CHECK_MSG(longest < 2.0 * machine.seconds(4), std::to_string(longest));
    CHECK_MSG(after * 10 > before * 9, std::to_string(after) + " after " + std::to_string(before));
}

LLMCORE_TEST(a_bound_leaves_prompts_what_decoding_does_not_need) {
    const Machine machine = {.fixed = 0.010, .row = 0.001};
    Pace pace(0.100);
    std::int64_t rows = 0;
    for (int step = 0; step < 20; ++step) pace.learn(machine.seconds(2), 0, 2);
    const double longest = mix(pace, machine, 2, 400, &rows);
    CHECK_MSG(longest < 0.105, std::to_string(longest));
    CHECK_MSG(rows > 100 * 75, std::to_string(rows));
}

LLMCORE_TEST(pace_keeps_steps_within_their_time) {
    Pace pace(0.05);
    CHECK(pace.prompt_rows(1) == 0);  // nothing is known of decoding
    const auto took = [](std::int64_t prompt, std::int64_t decode) {
        return 0.004 + 0.0005 * static_cast<double>(decode) + 0.0002 * static_cast<double>(prompt);
    };
    pace.learn(took(512, 0), 512, 0);
    for (int i = 0; i < 20; ++i) {
        pace.learn(took(0, 16), 0, 16);
        const std::int64_t rows = std::min<std::int64_t>(512, pace.prompt_rows(1));
        const double step = took(rows, 16);
        pace.learn(step, rows, 16);
        if (i > 3) CHECK(step <= 0.05 * 1.1 && step > 0.05 * 0.7);
    }
    // Where decoding alone exceeds the bound, prompts get on all the same, in less than its time again.
    Pace tight(0.001);
    tight.learn(0.01, 0, 4);
    tight.learn(0.0576, 64, 0);
    CHECK(tight.prompt_rows(1) == 7);
    // A row that costs more than all that: one at a time.
    Pace slow(0.001);
    slow.learn(0.01, 0, 4);
    slow.learn(6.4, 64, 0);
    CHECK(slow.prompt_rows(1) == 1);
}

}  // namespace llmcore::test
