#include "sampling/ranked.h"

#include <algorithm>
#include <cmath>

namespace llmcore {

namespace {

constexpr std::size_t kZipfRanks = 100;  // the paper's m

void keep_first(std::vector<Ranked>& ranked, std::size_t n) {
    ranked.resize(std::clamp<std::size_t>(n, 1, ranked.size()));
}

// The fewest first ones that reach the mass.
void keep_mass(std::vector<Ranked>& ranked, double mass) {
    double total = 0.0;
    std::size_t n = 0;
    while (n < ranked.size() && total < mass) total += ranked[n++].probability;
    keep_first(ranked, n);
}

// The exponent of the Zipf distribution, by least squares over the likeliest ranks (the paper's algorithm 1).
double zipf_exponent(const std::vector<Ranked>& ranked) {
    double numerator = 0.0;
    double denominator = 0.0;
    for (std::size_t i = 0; i + 1 < std::min(kZipfRanks, ranked.size()); ++i) {
        if (ranked[i + 1].probability <= 0.0) break;
        const double t = std::log(static_cast<double>(i + 2) / static_cast<double>(i + 1));
        const double b = std::log(ranked[i].probability / ranked[i + 1].probability);
        numerator += t * b;
        denominator += t * t;
    }
    return denominator > 0.0 ? numerator / denominator : 1.0;
}

}  // namespace

std::vector<Ranked> rank(const std::vector<Candidate>& candidates, float inv_temperature) {
    std::vector<Candidate> sorted = candidates;
    std::sort(sorted.begin(), sorted.end(), precedes);
    std::vector<Ranked> ranked;
    ranked.reserve(sorted.size());
    for (const Candidate& c : sorted) {
        const double offset = static_cast<double>(c.value) - static_cast<double>(sorted.front().value);
        ranked.push_back({c.token, c.value, std::exp(offset * static_cast<double>(inv_temperature))});
    }
    renormalize(ranked);
    return ranked;
}

double renormalize(std::vector<Ranked>& ranked) {
    double total = 0.0;
    for (const Ranked& r : ranked) total += r.probability;
    for (Ranked& r : ranked) r.probability /= total;
    return total;
}

void keep_typical(std::vector<Ranked>& ranked, double mass) {
    double entropy = 0.0;
    for (const Ranked& r : ranked) {
        if (r.probability > 0.0) entropy -= r.probability * std::log(r.probability);
    }
    const auto distance = [&](const Ranked& r) {
        return r.probability > 0.0 ? std::abs(-std::log(r.probability) - entropy) : HUGE_VAL;
    };
    std::stable_sort(ranked.begin(), ranked.end(),
                     [&](const Ranked& a, const Ranked& b) { return distance(a) < distance(b); });
    keep_mass(ranked, mass);
    std::sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
        return precedes({a.logit, a.token}, {b.logit, b.token});
    });
}

void keep_nucleus(std::vector<Ranked>& ranked, double mass) { keep_mass(ranked, mass); }

void keep_min_p(std::vector<Ranked>& ranked, double ratio) {
    const double least = ratio * ranked.front().probability;
    std::size_t n = 0;
    while (n < ranked.size() && ranked[n].probability >= least) ++n;
    keep_first(ranked, n);
}

void exclude_top_choices(std::vector<Ranked>& ranked, double threshold) {
    std::size_t n = 0;
    while (n < ranked.size() && ranked[n].probability >= threshold) ++n;
    if (n > 1) ranked.erase(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(n - 1));
}

std::size_t draw_place(const std::vector<Ranked>& ranked, double point) {
    double left = point;
    for (std::size_t i = 0; i + 1 < ranked.size(); ++i) {
        if (left < ranked[i].probability) return i;
        left -= ranked[i].probability;
    }
    return ranked.size() - 1;
}

void Mirostat::filter(std::vector<Ranked>& ranked, std::int64_t n_vocab) const {
    if (params_.version == 1) {
        const double s = zipf_exponent(ranked);
        const double epsilon = s - 1.0;
        const auto n = static_cast<double>(n_vocab);
        // Where the exponent is 1 the formula's limit holds.
        const double scale =
            std::abs(epsilon) < 1e-6 ? 1.0 / std::log(n) : epsilon / (1.0 - std::pow(n, -epsilon));
        const double k = std::pow(scale * std::exp2(mu_), 1.0 / s);
        keep_first(ranked, k < n ? static_cast<std::size_t>(std::max(1.0, std::round(k))) : ranked.size());
        return;
    }
    std::size_t kept = 0;
    while (kept < ranked.size() && -std::log2(ranked[kept].probability) <= mu_) ++kept;
    keep_first(ranked, kept);
}

void Mirostat::learn(double probability) {
    mu_ -= static_cast<double>(params_.eta) * (-std::log2(probability) - static_cast<double>(params_.tau));
}

}  // namespace llmcore
