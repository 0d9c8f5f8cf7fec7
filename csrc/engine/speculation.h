// How many tokens are worth guessing, from what steps cost and how often guesses were right.
#pragma once

#include <cstdint>

namespace llmcore {

// Seconds of a step as a straight line over its rows, fitted to what was measured lately.
class StepCost {
public:
    void learn(double rows, double seconds);
    bool known() const { return weight_ > 0.0; }
    double seconds(double rows) const;
    // Of one row more.
    double row_seconds() const;

private:
    // Sums that fade with each measurement.
    double weight_ = 0.0;
    double rows_ = 0.0;
    double seconds_ = 0.0;
    double rows_squared_ = 0.0;
    double rows_seconds_ = 0.0;
};

class Speculation {
public:
    // most: tokens a step and sequence. adapts: fewer where that is not worth it.
    Speculation(std::int64_t most, bool adapts) : most_(most), adapts_(adapts) {}

    // For a sequence whose guesses are right with probability `rate`, beside n_sequences - 1 others. A guess
    // is worth it if the share of a step that it saves exceeds what drafting and checking it take.
    std::int64_t guesses(double rate, std::int64_t n_sequences) const;
    // Once a step: true now and then if nothing has been guessed for long, to look again.
    bool looks_again(bool guessed);

    // A rate follows what came of `guessed` guesses, of which the first `right` were right; or, where nothing
    // was guessed, slowly what is usual.
    void follow(double& rate, std::int64_t guessed, std::int64_t right);
    double usual_rate() const { return usual_rate_; }

    StepCost& model_cost() { return model_cost_; }
    StepCost& draft_cost() { return draft_cost_; }

private:
    std::int64_t most_;
    bool adapts_;
    double usual_rate_ = 0.7;
    std::int64_t quiet_steps_ = 0;
    StepCost model_cost_;
    StepCost draft_cost_;
};

}  // namespace llmcore
