#include "kernels/tuned_kernels.h"

#include <cmath>
#include <utility>

namespace llmcore {

namespace {

const double kReach = std::log(4.0) + 1e-9;

double distance(std::int64_t a, std::int64_t b) {
    return std::abs(std::log(static_cast<double>(a) / static_cast<double>(b)));
}

}  // namespace

const Kernel* TunedKernels::find(Format format, const Shape& shape) const {
    const TunedChoice* best = nullptr;
    std::pair<double, double> best_distance;
    for (const TunedChoice& choice : choices_) {
        if (choice.format != format) continue;
        const double rows = distance(choice.n, shape.n);
        const double columns = distance(choice.k, shape.k);
        if (rows > kReach || columns > kReach) continue;
        const std::pair<double, double> found = {rows + columns, distance(choice.m, shape.m)};
        if (best == nullptr || found < best_distance) {
            best = &choice;
            best_distance = found;
        }
    }
    return best == nullptr ? nullptr : best->kernel;
}

}  // namespace llmcore
