// Guesses what comes next from what came before: speculation without a second model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace llmcore {

// What followed the last earlier place that ends as `tokens` does, at most n_tokens of it; longer endings are
// preferred (Saxena 2023, "Prompt Lookup Decoding"). Empty where nothing repeats.
std::vector<std::int32_t> look_up_continuation(std::span<const std::int32_t> tokens, std::int64_t n_tokens);

// How many tokens are worth guessing for one sequence: more after right guesses, fewer and with pauses after
// wrong ones.
class GuessLength {
public:
    explicit GuessLength(std::int64_t most) : most_(most), next_(most) {}
    // For the next step; 0 in a pause.
    std::int64_t next();
    void learn(std::int64_t guessed, std::int64_t right);

private:
    std::int64_t most_;
    std::int64_t next_;
    std::int64_t pause_ = 0;
    std::int64_t failures_ = 0;
};

}  // namespace llmcore
