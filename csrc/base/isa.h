// Instruction sets as kernels name them. POD only: kernel files compiled for any ISA include this.
#pragma once

#include <cstdint>

namespace llmcore {

// Ordered within an architecture (x86-64: avx2 to amx; AArch64: neon to i8mm): LLMCORE_ISA names a ceiling.
// What each needs is in cpu_features.cpp.
enum class Isa : std::uint8_t { scalar, avx2, avxvnni, avx512, amx, neon, dotprod, i8mm };

}  // namespace llmcore
