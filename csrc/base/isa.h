// Instruction sets as kernels name them. POD only: kernel files compiled for any ISA include this.
#pragma once

#include <cstdint>

namespace llmcore {

// Ordered: LLMCORE_ISA names a ceiling. What each needs is in cpu_features.cpp.
enum class Isa : std::uint8_t { scalar, avx2, avx512, amx };

}  // namespace llmcore
