// The "don't repeat yourself" penalty: tokens that would continue a repetition of what was said before.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "sampling/params.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

// After p-e-w, "DRY: a modern repetition penalty" (text-generation-webui, pull request 5677, 2024): a token
// that would lengthen a match of n tokens at the end of the text with an earlier place loses multiplier *
// base^(n - allowed_length), for n >= allowed_length. Matches do not reach over breakers.
class DryPenalty {
public:
    // vocabulary: where breakers are looked up; null: there are none. Must outlive this.
    DryPenalty(const DryParams& params, const Vocabulary* vocabulary)
        : params_(params), vocabulary_(vocabulary) {}

    bool active() const { return params_.multiplier > 0.0F; }
    void observe(std::int32_t token);
    void apply(std::span<float> logits);

private:
    bool breaks(std::int32_t token) const;
    std::int64_t match_length(std::size_t place) const;

    DryParams params_;
    const Vocabulary* vocabulary_;
    std::vector<std::int32_t> history_;
    std::vector<bool> breakers_;  // by place in history_
    std::unordered_map<std::int32_t, std::int64_t>
        longest_;  // scratch: by token, the match it would lengthen
};

}  // namespace llmcore
