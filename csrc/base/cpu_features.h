// What this machine's processor and operating system allow.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/isa.h"

namespace llmcore {

// The highest instruction set that may run here. AMX asks the kernel for its tile state once a process.
Isa detected_isa();

// Whether kernels of `isa` may run here under that ceiling. Being below it is not enough: AVX-VNNI, for
// instance, is no part of AVX-512.
bool can_run(Isa isa, Isa ceiling);

// All that may run here, the lowest first.
std::vector<Isa> runnable_isas();

// detected_isa(), lowered by the environment variable LLMCORE_ISA.
// Throws Error(invalid_argument) if the variable is no instruction set, or one that this machine lacks.
Isa isa_ceiling();

const char* isa_name(Isa isa);
// The processor's own name, or its architecture where there is none.
std::string cpu_name();
// Processors this process may use, and whose time a container leaves it; at least 1.
int available_processors();

}  // namespace llmcore
