// Kernels that were measured to be the fastest on this machine, and the one of them that fits a product.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernel.h"

namespace llmcore {

// The fastest kernel for the product of m activation rows with an n x k matrix of `format`.
struct TunedChoice {
    Format format = Format::none;
    std::int64_t m = 0;
    std::int64_t n = 0;
    std::int64_t k = 0;
    const Kernel* kernel = nullptr;
};

class TunedKernels {
public:
    TunedKernels() = default;
    explicit TunedKernels(std::vector<TunedChoice> choices) : choices_(std::move(choices)) {}

    // The kernel of the measured product that is nearest: of the nearest matrix, then of the nearest m, as
    // ratios. Null where no matrix of the format was measured whose sides are within a factor of 4.
    const Kernel* find(Format format, const Shape& shape) const;

    const std::vector<TunedChoice>& choices() const { return choices_; }

private:
    std::vector<TunedChoice> choices_;
};

}  // namespace llmcore
