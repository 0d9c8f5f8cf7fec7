#include "engine/prompt_lookup.h"

#include <algorithm>

namespace llmcore {

namespace {

constexpr std::size_t kLongestEnding = 4;
constexpr std::size_t kShortestEnding = 2;
constexpr std::int64_t kLongestPause = 64;  // steps

}  // namespace

std::vector<std::int32_t> look_up_continuation(std::span<const std::int32_t> tokens, std::int64_t n_tokens) {
    if (n_tokens <= 0 || tokens.size() <= kShortestEnding) return {};
    const std::size_t last = tokens.size() - 1;
    std::size_t best_length = 0;
    std::size_t best_place = 0;
    // From the end, so that of equally long endings the last place wins.
    for (std::size_t place = last; place-- > 0 && best_length < kLongestEnding;) {
        std::size_t length = 0;
        while (length < kLongestEnding && length <= place &&
               tokens[place - length] == tokens[last - length]) {
            ++length;
        }
        if (length > best_length) {
            best_length = length;
            best_place = place;
        }
    }
    if (best_length < kShortestEnding) return {};
    const auto n = std::min(static_cast<std::size_t>(n_tokens), last - best_place);
    const auto found = tokens.subspan(best_place + 1, n);
    return {found.begin(), found.end()};
}

std::int64_t GuessLength::next() {
    if (pause_ > 0) {
        --pause_;
        return 0;
    }
    return next_;
}

void GuessLength::learn(std::int64_t guessed, std::int64_t right) {
    if (guessed == 0) return;
    next_ = std::clamp<std::int64_t>(right == guessed ? next_ * 2 : right + 1, 1, most_);
    failures_ = right > 0 ? 0 : failures_ + 1;
    pause_ = failures_ == 0 ? 0 : std::min(kLongestPause, INT64_C(1) << std::min<std::int64_t>(failures_, 6));
}

}  // namespace llmcore
