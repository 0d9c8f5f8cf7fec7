#include "sampling/dry.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace llmcore {

namespace {

// Longer matches count as this long: the penalty is enormous by then, and repetitive texts stay linear.
constexpr std::int64_t kLongestMatch = 64;

}  // namespace

bool DryPenalty::breaks(std::int32_t token) const {
    if (vocabulary_ == nullptr || token >= vocabulary_->size()) return false;
    const std::string_view text = vocabulary_->text_bytes(token);
    return std::any_of(params_.breakers.begin(), params_.breakers.end(), [&](const std::string& breaker) {
        return text.find(breaker) != std::string_view::npos;
    });
}

void DryPenalty::observe(std::int32_t token) {
    if (!active()) return;
    history_.push_back(token);
    breakers_.push_back(breaks(token));
}

// Of the texts that end at `place` and at the end; the tokens there are equal.
std::int64_t DryPenalty::match_length(std::size_t place) const {
    const std::size_t last = history_.size() - 1;
    std::size_t length = 1;
    while (length <= place && length < static_cast<std::size_t>(kLongestMatch) &&
           history_[place - length] == history_[last - length] && !breakers_[last - length]) {
        ++length;
    }
    return static_cast<std::int64_t>(length);
}

void DryPenalty::apply(std::span<float> logits) {
    if (!active() || history_.size() < 2 || breakers_.back()) return;
    longest_.clear();
    const std::size_t last = history_.size() - 1;
    const auto range = static_cast<std::size_t>(params_.range);
    const std::size_t begin = params_.range > 0 && range < history_.size() ? history_.size() - range : 0;
    for (std::size_t place = begin; place < last; ++place) {
        if (history_[place] != history_[last] || breakers_[place + 1]) continue;
        const std::int64_t length =
            std::min(match_length(place), static_cast<std::int64_t>(place - begin + 1));
        std::int64_t& longest = longest_[history_[place + 1]];
        longest = std::max(longest, length);
    }
    for (const auto& [token, length] : longest_) {
        if (length < params_.allowed_length) continue;
        const auto exponent = static_cast<float>(length - params_.allowed_length);
        logits[static_cast<std::size_t>(token)] -=
            std::min(1e6F, params_.multiplier * std::pow(params_.base, exponent));
    }
}

}  // namespace llmcore
