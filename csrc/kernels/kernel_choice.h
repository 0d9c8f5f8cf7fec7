// A chosen kernel, and why it is the one.
#pragma once

#include <cstdint>

#include "kernels/kernel.h"

namespace llmcore {

// built_in: the cheapest by its own estimate; tuned: the fastest that was measured here; forced: by name.
enum class ChoiceReason : std::uint8_t { built_in, tuned, forced };

struct KernelChoice {
    const Kernel* kernel = nullptr;
    ChoiceReason reason = ChoiceReason::built_in;
};

}  // namespace llmcore
