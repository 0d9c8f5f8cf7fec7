// One row of logits with the maxima of its blocks of 64: after one pass over a large vocabulary, the largest
// values, thresholds and draws touch few blocks.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace llmcore {

struct Candidate {
    float value = 0.0F;
    std::int32_t token = 0;
};

// The last candidate that is kept, in the order "larger value first, then lower token": whatever comes before
// it or is it passes.
struct Cutoff {
    float value = -std::numeric_limits<float>::infinity();
    std::int32_t token = std::numeric_limits<std::int32_t>::max();

    bool keeps(float other, std::int32_t other_token) const {
        return other > value || (other == value && other_token <= token);
    }
};

class ScannedRow {
public:
    // Keeps a view of `logits`. False if a value is NaN or +infinity, or all are -infinity; then nothing else
    // may be called.
    bool scan(std::span<const float> logits);

    std::int64_t size() const { return static_cast<std::int64_t>(logits_.size()); }
    float max() const { return max_; }
    // The lowest token that has the largest value.
    std::int32_t argmax() const;

    // Sum of exp((x - max) * inv_temperature).
    double exp_sum(float inv_temperature) const;
    // The token at `point` in [0, 1) of the cumulative distribution exp((x - max) * inv_temperature), tokens
    // in order.
    std::int32_t draw(float inv_temperature, double point);

    // Appends, in token order, all that pass the cutoff.
    void gather(const Cutoff& cutoff, std::vector<Candidate>& out) const;
    // Appends, in token order, a superset of the n largest, small when n is small against the vocabulary.
    void gather_largest(std::int64_t n, std::vector<Candidate>& out);
    // The n largest, largest first.
    void top(std::int64_t n, std::vector<Candidate>& out);

private:
    std::span<const float> block(std::int64_t index) const;

    std::span<const float> logits_;
    float max_ = 0.0F;
    std::vector<float> block_max_;
    std::vector<float> scratch_;
};

// exp((candidate - max) * inv_temperature), as the methods above compute it.
float candidate_weight(float value, float max, float inv_temperature);

// "Larger value first, then lower token".
bool precedes(const Candidate& a, const Candidate& b);

// The shortest prefix, in the order of `precedes`, whose weights reach `target`; `candidates` are partitioned
// so that the prefix comes first. Returns its length, at least 1. Linear on average.
std::int64_t select_mass(std::span<Candidate> candidates, float max, float inv_temperature, double target);

}  // namespace llmcore
