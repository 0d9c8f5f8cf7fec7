#include "engine/pace.h"

#include <algorithm>
#include <cmath>

namespace llmcore {

namespace {

constexpr std::int64_t kTellingRows = 16;  // smaller steps say little about the cost of a prompt row
constexpr double kNewest = 0.3;            // weight of the newest measurement
constexpr double kManyRows = 1e6;
// Where decoding alone takes all the time, prompts still get this much of its time, so that nobody starves
// behind it and the time between tokens stays below twice what it is without prompts.
constexpr double kLeastShare = 0.8;

void follow(double& average, double value) {
    average = average == 0.0 ? value : average + kNewest * (value - average);
}

}  // namespace

void Pace::learn(double seconds, std::int64_t prompt_rows, std::int64_t decode_rows) {
    if (prompt_rows == 0) {
        if (decode_rows > 0) follow(decode_seconds_, seconds);
        return;
    }
    if (prompt_rows < kTellingRows && row_seconds_ > 0.0) {
        // Too few to divide by; but a step over its time says that rows cost more than was thought.
        if (decode_rows == 0 || seconds <= decode_seconds_ + prompt_seconds()) return;
    }
    const double for_prompt = decode_rows > 0 ? std::max(0.0, seconds - decode_seconds_) : seconds;
    follow(row_seconds_, for_prompt / static_cast<double>(prompt_rows));
}

double Pace::prompt_seconds() const {
    return std::max(step_seconds_ - decode_seconds_, kLeastShare * decode_seconds_);
}

std::int64_t Pace::prompt_rows() const {
    return static_cast<std::int64_t>(
        std::clamp(std::floor(prompt_seconds() / std::max(row_seconds_, 1e-9)), 1.0, kManyRows));
}

}  // namespace llmcore
