#include "engine/pace.h"

#include <algorithm>
#include <cmath>

namespace llmcore {

namespace {

constexpr std::int64_t kTellingRows = 16;  // fewer say less about the cost of a row
constexpr double kNewest = 0.3;            // weight of the newest measurement
constexpr double kMostChange = 4.0;  // of a row's cost, in what one step says: others use the machine too
constexpr double kManyRows = 1e6;
// Of decoding's time, for prompts: the time between tokens stays below twice what it is without them.
constexpr double kLeastShare = 0.7;
constexpr double kBriefShare = 2.0;       // the same for what is soon over
constexpr double kLeastStep = 0.005;      // without a bound: nobody minds shorter ones
constexpr std::int64_t kMixedSteps = 32;  // until one only decodes

void follow(double& average, double value, double weight) {
    average = average == 0.0 ? value : average + weight * (value - average);
}

}  // namespace

void Pace::learn(double seconds, std::int64_t prompt_rows, std::int64_t decode_rows) {
    if (decode_rows > 0) decoding_ = decode_rows;
    if (prompt_rows == 0) {
        if (decode_rows == 0) return;
        decode_seconds_ = decode_seconds(decode_rows);
        decode_rows_ = decode_rows;
        follow(decode_seconds_, seconds, kNewest);
        mixed_steps_ = 0;
        return;
    }
    if (decode_rows > 0) ++mixed_steps_;
    double row = std::max(0.0, seconds - decode_seconds(decode_rows)) / static_cast<double>(prompt_rows);
    if (row_seconds_ > 0.0) row = std::clamp(row, row_seconds_ / kMostChange, row_seconds_ * kMostChange);
    const double rows = static_cast<double>(std::min(prompt_rows, kTellingRows));
    follow(row_seconds_, row, kNewest * rows / kTellingRows);
}

// More rows than were seen cost more, as prompt rows do, but no more than in proportion; fewer less.
double Pace::decode_seconds(std::int64_t rows) const {
    if (decode_rows_ == 0 || rows == 0) return 0.0;
    const double more = static_cast<double>(rows - decode_rows_);
    const double in_proportion =
        decode_seconds_ * static_cast<double>(rows) / static_cast<double>(decode_rows_);
    const auto [least, most] = std::minmax(decode_seconds_, in_proportion);
    return std::clamp(decode_seconds_ + more * row_seconds_, least, most);
}

double Pace::prompt_seconds(std::int64_t waiting, bool brief) const {
    const double decode = decode_seconds(decoding_);
    double share = kLeastShare;
    if (!bound_ && decoding_ > 0)
        share *= std::max(1.0, static_cast<double>(waiting) / static_cast<double>(decoding_));
    if (!bound_ && brief) share = std::max(share, kBriefShare);
    return std::max(bound_.value_or(kLeastStep) - decode, share * decode);
}

std::int64_t Pace::prompt_rows(std::int64_t waiting, bool brief) const {
    if (decode_rows_ == 0 || mixed_steps_ >= kMixedSteps) return 0;
    return static_cast<std::int64_t>(std::clamp(
        std::floor(prompt_seconds(waiting, brief) / std::max(row_seconds_, 1e-9)), 1.0, kManyRows));
}

}  // namespace llmcore
