// One row of logits with the maxima of its blocks: after one pass over a large vocabulary, the largest
// values, thresholds and draws touch few blocks. Passes over the row are kernels.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/kernel.h"

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
    // Chooses the kernels of this machine. Throws Error(invalid_argument) as KernelSelector does.
    ScannedRow();

    // Keeps a view of `logits`. False if a value is NaN or +infinity, or all are -infinity; then nothing else
    // may be called.
    bool scan(std::span<const float> logits);

    std::int64_t size() const { return static_cast<std::int64_t>(logits_.size()); }
    float max() const { return max_; }
    // The lowest token that has the largest value.
    std::int32_t argmax() const;

    // Sum of exp((x - max) * inv_temperature) over x >= least.
    double exp_sum(float inv_temperature, float least = -std::numeric_limits<float>::infinity());
    // The token at `point` in [0, 1) of the cumulative distribution exp((x - max) * inv_temperature) of those
    // that pass the cutoff, tokens in order.
    std::int32_t draw(const Cutoff& cutoff, float inv_temperature, double point);

    // Of the fewest tokens, in the order of `precedes`, whose weights exp((x - max) * inv_temperature) reach
    // `mass` in (0, 1) of the row's. candidates: scratch.
    Cutoff nucleus(float inv_temperature, double mass, std::vector<Candidate>& candidates);

    // Appends, in token order, all that pass the cutoff.
    void gather(const Cutoff& cutoff, std::vector<Candidate>& out) const;
    // Appends, in token order, a superset of the n largest, small when n is small against the vocabulary: all
    // values that are at least the one returned.
    float gather_largest(std::int64_t n, std::vector<Candidate>& out);
    // The n largest, largest first.
    void top(std::int64_t n, std::vector<Candidate>& out);

private:
    std::int64_t n_blocks() const { return static_cast<std::int64_t>(block_max_.size()); }
    std::span<const float> block(std::int64_t index) const;
    void sum_blocks(std::int64_t begin, std::int64_t end, float inv_temperature, float least);
    float block_sum(std::int64_t index, const Cutoff& cutoff, float inv_temperature) const;
    float nth_block_max(std::int64_t n);
    Cutoff wide_nucleus(float inv_temperature, double target, float high, double above,
                        std::vector<Candidate>& candidates);

    const Kernel* row_max_;
    const Kernel* exp_sum_;
    std::span<const float> logits_;
    float max_ = 0.0F;
    std::vector<float> block_max_;
    std::vector<float> block_sums_;
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
