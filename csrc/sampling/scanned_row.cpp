#include "sampling/scanned_row.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/exp_nonpositive.h"
#include "kernels/registry.h"

namespace llmcore {

namespace {

constexpr std::int64_t kBlock = kRowBlock;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Enough for the nucleus of most steps, and of nearly all; flatter ones look at the whole vocabulary.
constexpr std::int64_t kFirstNuclei[] = {48, 512};
// Of so many, those that were the largest so far are cheaper to keep than a partition.
constexpr std::int64_t kFew = 64;
// A weight is 0 from e^-88 on.
constexpr float kLowest = 88.0F;
// Ends a search for a threshold: so near, in units of the exponent, few values lie in between.
constexpr float kNear = 0.25F;

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

ScannedRow::ScannedRow() {
    const KernelSelector selector = KernelSelector::from_environment();
    const auto select = [&](Op op) {
        return &selector.select(op, Format::none, Layout::none, Layout::f32, {.n = kBlock});
    };
    row_max_ = select(Op::row_max);
    exp_sum_ = select(Op::exp_sum);
}

bool ScannedRow::scan(std::span<const float> logits) {
    logits_ = logits;
    block_max_.resize((logits.size() + kBlock - 1) / kBlock);
    block_sums_.resize(block_max_.size());
    RowBlocksArgs args{};
    args.x = logits.data();
    args.n = size();
    args.out = block_max_.data();
    row_max_->run(&args, 0, n_blocks(), nullptr);
    max_ = -kInfinity;
    bool sound = true;
    for (const float largest : block_max_) {
        max_ = std::max(max_, largest);
        sound = sound && !std::isnan(largest);
    }
    return sound && max_ > -kInfinity;
}

std::int32_t ScannedRow::argmax() const {
    const auto best = std::find(block_max_.begin(), block_max_.end(), max_) - block_max_.begin();
    const auto values = block(best);
    const auto place = std::find(values.begin(), values.end(), max_) - values.begin();
    return static_cast<std::int32_t>(best * kBlock + place);
}

// Into block_sums_.
void ScannedRow::sum_blocks(std::int64_t begin, std::int64_t end, float inv_temperature, float least) {
    RowBlocksArgs args{};
    args.x = logits_.data();
    args.n = size();
    args.out = block_sums_.data();
    args.max = max_;
    args.scale = inv_temperature;
    args.least = least;
    args.block_max = block_max_.data();
    exp_sum_->run(&args, begin, end, nullptr);
}

double ScannedRow::exp_sum(float inv_temperature, float least) {
    sum_blocks(0, n_blocks(), inv_temperature, least);
    double sum = 0.0;
    for (const float part : block_sums_) sum += static_cast<double>(part);
    return sum;
}

float ScannedRow::block_sum(std::int64_t index, const Cutoff& cutoff, float inv_temperature) const {
    float sum = 0.0F;
    auto token = static_cast<std::int32_t>(index * kBlock);
    for (const float x : block(index)) {
        if (cutoff.keeps(x, token++)) sum += candidate_weight(x, max_, inv_temperature);
    }
    return sum;
}

std::int32_t ScannedRow::draw(const Cutoff& cutoff, float inv_temperature, double point) {
    // Before the cutoff's block its value is kept, behind it only larger ones are.
    const std::int64_t border = std::min<std::int64_t>(cutoff.token / kBlock, n_blocks());
    sum_blocks(0, border, inv_temperature, cutoff.value);
    if (border < n_blocks()) {
        block_sums_[static_cast<std::size_t>(border)] = block_sum(border, cutoff, inv_temperature);
        sum_blocks(border + 1, n_blocks(), inv_temperature, std::nextafter(cutoff.value, kInfinity));
    }
    double total = 0.0;
    for (const float part : block_sums_) total += static_cast<double>(part);
    // Rounding may run past the end: then it is the last token of the last block that has any.
    double left = point * total;
    std::size_t chosen = 0;
    bool found = false;
    for (std::size_t b = 0; b < block_sums_.size() && !found; ++b) {
        if (block_sums_[b] <= 0.0F) continue;
        chosen = b;
        found = left < static_cast<double>(block_sums_[b]);
        if (!found) left -= static_cast<double>(block_sums_[b]);
    }
    if (!found) left = total;
    std::int32_t last = argmax();
    auto token = static_cast<std::int32_t>(static_cast<std::int64_t>(chosen) * kBlock);
    for (const float x : block(static_cast<std::int64_t>(chosen))) {
        const float weight = cutoff.keeps(x, token) ? candidate_weight(x, max_, inv_temperature) : 0.0F;
        if (weight > 0.0F) {
            last = token;
            if (left < static_cast<double>(weight)) break;
            left -= static_cast<double>(weight);
        }
        ++token;
    }
    return last;
}

Cutoff ScannedRow::nucleus(float inv_temperature, double mass, std::vector<Candidate>& candidates) {
    const double target = mass * exp_sum(inv_temperature);
    float least = 0.0F;
    double weight = 0.0;
    for (const std::int64_t n : kFirstNuclei) {
        candidates.clear();
        least = gather_largest(n, candidates);
        weight = 0.0;
        for (const Candidate& c : candidates) {
            weight += static_cast<double>(candidate_weight(c.value, max_, inv_temperature));
        }
        if (weight < target && least > -kInfinity) continue;
        const std::int64_t kept = select_mass(candidates, max_, inv_temperature, target);
        const Candidate& last = candidates[static_cast<std::size_t>(kept - 1)];
        return {last.value, last.token};
    }
    return wide_nucleus(inv_temperature, target, least, weight, candidates);
}

// Values of at least `high` weigh `above`, less than the target: searches for the threshold below, first in
// steps that double, then by halves; what lies between the last two is looked at one by one.
Cutoff ScannedRow::wide_nucleus(float inv_temperature, double target, float high, double above,
                                std::vector<Candidate>& candidates) {
    const float bottom = max_ - kLowest / inv_temperature;
    float low = high;
    float step = 0.5F / inv_temperature;
    bool bracketed = false;
    while (!bracketed || (high - low) * inv_temperature > kNear) {
        const float middle = bracketed ? low + (high - low) / 2.0F : std::max(bottom, high - step);
        if (bracketed && (middle <= low || middle >= high)) break;
        const double weight = exp_sum(inv_temperature, middle);
        if (weight >= target || middle <= bottom) {
            low = middle;
            bracketed = true;
        } else {
            high = middle;
            above = weight;
            step *= 2.0F;
        }
    }
    candidates.clear();
    for (std::size_t b = 0; b < block_max_.size(); ++b) {
        if (block_max_[b] < low) continue;
        auto token = static_cast<std::int32_t>(static_cast<std::int64_t>(b) * kBlock);
        for (const float x : block(static_cast<std::int64_t>(b))) {
            if (x >= low && x < high) candidates.push_back({x, token});
            ++token;
        }
    }
    if (candidates.empty()) return {low, std::numeric_limits<std::int32_t>::max()};
    const std::int64_t kept = select_mass(candidates, max_, inv_temperature, target - above);
    const Candidate& last = candidates[static_cast<std::size_t>(kept - 1)];
    return {last.value, last.token};
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

float ScannedRow::gather_largest(std::int64_t n, std::vector<Candidate>& out) {
    Cutoff cutoff;
    if (n <= n_blocks()) {
        // n blocks hold a value of at least the n-th largest block maximum, so no smaller value is among the
        // n largest.
        cutoff.value = nth_block_max(n);
    }
    gather(cutoff, out);
    return cutoff.value;
}

float ScannedRow::nth_block_max(std::int64_t n) {
    const auto size = static_cast<std::ptrdiff_t>(n);
    if (n > kFew) {
        scratch_ = block_max_;
        const auto nth = scratch_.begin() + (size - 1);
        std::nth_element(scratch_.begin(), nth, scratch_.end(), std::greater<>());
        return *nth;
    }
    scratch_.assign(block_max_.begin(), block_max_.begin() + size);
    std::make_heap(scratch_.begin(), scratch_.end(), std::greater<>());
    for (auto next = block_max_.begin() + size; next != block_max_.end(); ++next) {
        if (*next <= scratch_.front()) continue;
        std::pop_heap(scratch_.begin(), scratch_.end(), std::greater<>());
        scratch_.back() = *next;
        std::push_heap(scratch_.begin(), scratch_.end(), std::greater<>());
    }
    return scratch_.front();
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
