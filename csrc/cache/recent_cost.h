// What something lately cost: the middle one of its last measurements, so that one during which the thread
// lost its core says nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace llmcore {

class RecentCost {
public:
    void add(double seconds) { last_[n_++ % last_.size()] = seconds; }

    // Seconds; 0 as long as there are fewer than three measurements.
    double seconds() const {
        const std::size_t known = std::min(n_, last_.size());
        if (known < 3) return 0.0;
        std::array<double, 5> sorted = last_;
        // Those that are not known count as endless; the middle one is before them.
        std::fill(sorted.begin() + static_cast<std::ptrdiff_t>(known), sorted.end(), 1e300);
        std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(known / 2),
                         sorted.end());
        return sorted[known / 2];
    }

private:
    std::array<double, 5> last_ = {};
    std::size_t n_ = 0;
};

}  // namespace llmcore
