#include "engine/speculation.h"

#include <algorithm>

namespace llmcore {

namespace {

constexpr double kKept = 0.95;         // of the older measurements' weight, at each new one
constexpr double kNewest = 0.1;        // weight of the newest guess in a sequence's rate
constexpr double kNewestOfAll = 0.02;  // and in that of all
constexpr double kForgotten = 0.01;    // of a sequence's rate, in a step without guesses
constexpr std::int64_t kQuietSteps = 128;

void move_towards(double& average, double value, double share) { average += share * (value - average); }

}  // namespace

void StepCost::learn(double rows, double seconds) {
    for (double* sum : {&weight_, &rows_, &seconds_, &rows_squared_, &rows_seconds_}) *sum *= kKept;
    weight_ += 1.0;
    rows_ += rows;
    seconds_ += seconds;
    rows_squared_ += rows * rows;
    rows_seconds_ += rows * seconds;
}

double StepCost::row_seconds() const {
    if (!known()) return 0.0;
    const double mean_rows = rows_ / weight_;
    const double mean_seconds = seconds_ / weight_;
    const double variance = rows_squared_ / weight_ - mean_rows * mean_rows;
    // Of steps that all had as many rows nothing is known about one row more.
    if (variance < 0.01 * mean_rows) return 0.0;
    const double slope = (rows_seconds_ / weight_ - mean_rows * mean_seconds) / variance;
    return std::clamp(slope, 0.0, mean_seconds / mean_rows);
}

double StepCost::seconds(double rows) const {
    if (!known()) return 0.0;
    return std::max(0.0, seconds_ / weight_ + row_seconds() * (rows - rows_ / weight_));
}

std::int64_t Speculation::guesses(double rate, std::int64_t n_sequences) const {
    if (!adapts_ || !model_cost_.known() || !draft_cost_.known()) return most_;
    const auto n = static_cast<double>(n_sequences);
    const double saved = model_cost_.seconds(n) / n;
    const double spent = draft_cost_.seconds(n) / n + model_cost_.row_seconds();
    std::int64_t worth = 0;
    double right = rate;
    while (worth < most_ && right * saved > spent) {
        ++worth;
        right *= rate;
    }
    return worth;
}

bool Speculation::looks_again(bool guessed) {
    quiet_steps_ = guessed ? 0 : quiet_steps_ + 1;
    if (quiet_steps_ < kQuietSteps) return false;
    quiet_steps_ = 0;
    return true;
}

void Speculation::follow(double& rate, std::int64_t guessed, std::int64_t right) {
    if (guessed == 0) {
        move_towards(rate, usual_rate_, kForgotten);
        return;
    }
    // Guesses behind the first wrong one say nothing.
    for (std::int64_t i = 0; i < std::min(guessed, right + 1); ++i) {
        const double outcome = i < right ? 1.0 : 0.0;
        move_towards(rate, outcome, kNewest);
        move_towards(usual_rate_, outcome, kNewestOfAll);
    }
}

}  // namespace llmcore
