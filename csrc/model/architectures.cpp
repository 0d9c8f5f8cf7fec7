#include "model/architectures.h"

namespace llmcore {

namespace {

constexpr Architecture kArchitectures[] = {
    {.name = "llama", .rope_style = RopeStyle::adjacent, .activation = Activation::silu},
    {.name = "qwen2", .rope_style = RopeStyle::halves, .activation = Activation::silu},
};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

}  // namespace llmcore
