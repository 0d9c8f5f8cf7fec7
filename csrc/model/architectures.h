// One row an architecture: what the file's metadata does not say.
#pragma once

#include <span>
#include <string_view>

#include "kernels/kernel.h"

namespace llmcore {

struct Architecture {
    std::string_view name;  // general.architecture
    RopeStyle rope_style;
    Activation activation;
};

std::span<const Architecture> architectures();

}  // namespace llmcore
