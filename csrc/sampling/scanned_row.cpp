#include "sampling/scanned_row.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace llmcore {

namespace {

constexpr std::int64_t kBlock = 64;
constexpr std::size_t kLanes = 16;  // independent, so that the compiler may vectorize
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// e^x for x <= 0, relative error below 3e-7; 0 where the result would be subnormal. Cody and Waite's
// reduction to |r| <= ln(2)/2, then the Taylor polynomial. Branch-free, so that loops over it vectorize.
inline float exp_nonpositive(float x) {
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
    // max(x, -100) on the bits, whose order is that of the magnitude: a choice between floats is not
    // vectorized, since comparing may trap.
    constexpr auto kLowest = std::bit_cast<std::uint32_t>(-100.0F);
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const float clamped = std::bit_cast<float>(bits < kLowest ? bits : kLowest);
    const float shifted = clamped * 1.44269504F + kRound;
    const float n = shifted - kRound;
    const float r = clamped - n * 0.693145752F - n * 1.42860677e-6F;
    float p = 1.0F / 5040;
    p = p * r + 1.0F / 720;
    p = p * r + 1.0F / 120;
    p = p * r + 1.0F / 24;
    p = p * r + 1.0F / 6;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    const std::int32_t exponent =
        std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound) + 127;
    return p * std::bit_cast<float>((exponent > 0 ? exponent : 0) << 23);
}

float block_exp_sum(std::span<const float> block, float max, float inv_temperature) {
    float sum = 0.0F;
    if (block.size() == kBlock) {
        // Three plain loops: each vectorizes.
        std::array<float, kBlock> weights;
        for (std::size_t i = 0; i < kBlock; ++i)
            weights[i] = exp_nonpositive((block[i] - max) * inv_temperature);
        std::array<float, kLanes> lanes{};
        for (std::size_t i = 0; i < kBlock; i += kLanes) {
            for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += weights[i + l];
        }
        for (const float lane : lanes) sum += lane;
    } else {
        for (const float x : block) sum += exp_nonpositive((x - max) * inv_temperature);
    }
    return sum;
}

struct BlockScan {
    float max = -kInfinity;
    bool sound = true;
};

BlockScan scan_block(std::span<const float> block) {
    std::array<float, kLanes> largest;
    std::array<std::int32_t, kLanes> unsound{};
    largest.fill(-kInfinity);
    const auto take = [&](std::size_t lane, float x) {
        largest[lane] = x > largest[lane] ? x : largest[lane];
        unsound[lane] |= x < kInfinity ? 0 : 1;
    };
    if (block.size() == kBlock) {
        for (std::size_t i = 0; i < kBlock; i += kLanes) {
            for (std::size_t l = 0; l < kLanes; ++l) take(l, block[i + l]);
        }
    } else {
        for (const float x : block) take(0, x);
    }
    BlockScan scan;
    for (std::size_t l = 0; l < kLanes; ++l) {
        scan.max = std::max(scan.max, largest[l]);
        scan.sound = scan.sound && unsound[l] == 0;
    }
    return scan;
}

}  // namespace

float candidate_weight(float value, float max, float inv_temperature) {
    return exp_nonpositive((value - max) * inv_temperature);
}

bool precedes(const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.token < b.token);
}

std::span<const float> ScannedRow::block(std::int64_t index) const {
    const std::int64_t begin = index * kBlock;
    return logits_.subspan(static_cast<std::size_t>(begin),
                           static_cast<std::size_t>(std::min(kBlock, size() - begin)));
}

bool ScannedRow::scan(std::span<const float> logits) {
    logits_ = logits;
    block_max_.resize((logits.size() + kBlock - 1) / kBlock);
    max_ = -kInfinity;
    bool sound = true;
    for (std::size_t b = 0; b < block_max_.size(); ++b) {
        const BlockScan found = scan_block(block(static_cast<std::int64_t>(b)));
        block_max_[b] = found.max;
        max_ = std::max(max_, found.max);
        sound = sound && found.sound;
    }
    return sound && max_ > -kInfinity;
}

std::int32_t ScannedRow::argmax() const {
    const auto best = std::find(block_max_.begin(), block_max_.end(), max_) - block_max_.begin();
    const auto values = block(best);
    const auto place = std::find(values.begin(), values.end(), max_) - values.begin();
    return static_cast<std::int32_t>(best * kBlock + place);
}

double ScannedRow::exp_sum(float inv_temperature) const {
    double sum = 0.0;
    for (std::size_t b = 0; b < block_max_.size(); ++b) {
        sum += block_exp_sum(block(static_cast<std::int64_t>(b)), max_, inv_temperature);
    }
    return sum;
}

std::int32_t ScannedRow::draw(float inv_temperature, double point) {
    scratch_.resize(block_max_.size());
    double total = 0.0;
    for (std::size_t b = 0; b < block_max_.size(); ++b) {
        scratch_[b] = block_exp_sum(block(static_cast<std::int64_t>(b)), max_, inv_temperature);
        total += scratch_[b];
    }
    double left = point * total;
    std::size_t b = 0;
    while (b + 1 < scratch_.size() && left >= scratch_[b]) left -= scratch_[b++];
    std::int32_t last = argmax();  // stands if rounding runs past the end of an empty last block
    const auto values = block(static_cast<std::int64_t>(b));
    for (std::size_t i = 0; i < values.size(); ++i) {
        const float weight = exp_nonpositive((values[i] - max_) * inv_temperature);
        if (weight <= 0.0F) continue;
        last = static_cast<std::int32_t>(b * kBlock + i);
        if (left < weight) break;
        left -= weight;
    }
    return last;
}

void ScannedRow::gather(const Cutoff& cutoff, std::vector<Candidate>& out) const {
    for (std::size_t b = 0; b < block_max_.size(); ++b) {
        if (block_max_[b] < cutoff.value) continue;
        auto token = static_cast<std::int32_t>(b * kBlock);
        for (const float x : block(static_cast<std::int64_t>(b))) {
            if (cutoff.keeps(x, token)) out.push_back({x, token});
            ++token;
        }
    }
}

void ScannedRow::gather_largest(std::int64_t n, std::vector<Candidate>& out) {
    Cutoff cutoff;
    if (n <= static_cast<std::int64_t>(block_max_.size())) {
        // n blocks hold a value of at least the n-th largest block maximum, so no smaller value is among the
        // n largest.
        scratch_ = block_max_;
        const auto nth = scratch_.begin() + (n - 1);
        std::nth_element(scratch_.begin(), nth, scratch_.end(), std::greater<>());
        cutoff.value = *nth;
    }
    gather(cutoff, out);
}

void ScannedRow::top(std::int64_t n, std::vector<Candidate>& out) {
    out.clear();
    if (n <= 0) return;
    gather_largest(std::min(n, size()), out);
    const auto keep = std::min<std::int64_t>(n, static_cast<std::int64_t>(out.size()));
    std::partial_sort(out.begin(), out.begin() + keep, out.end(), precedes);
    out.resize(static_cast<std::size_t>(keep));
}

std::int64_t select_mass(std::span<Candidate> candidates, float max, float inv_temperature, double target) {
    std::size_t begin = 0;
    std::size_t end = candidates.size();
    double before = 0.0;
    // The last of the prefix lies in [begin, end): partition, weigh the first half, keep the half that holds
    // it.
    while (end - begin > 1) {
        const std::size_t middle = begin + (end - begin) / 2;
        const auto at = [&](std::size_t i) { return candidates.begin() + static_cast<std::ptrdiff_t>(i); };
        std::nth_element(at(begin), at(middle), at(end), precedes);
        double weight = 0.0;
        for (std::size_t i = begin; i < middle; ++i) {
            weight += candidate_weight(candidates[i].value, max, inv_temperature);
        }
        if (before + weight >= target) {
            end = middle;
        } else {
            before += weight;
            begin = middle;
        }
    }
    return static_cast<std::int64_t>(begin) + 1;
}

}  // namespace llmcore
