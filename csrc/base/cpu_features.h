// What this machine's processor and operating system allow.
#pragma once

#include <string>
#include <string_view>

#include "base/isa.h"

namespace llmcore {

// The highest instruction set that may run here. AMX asks the kernel for its tile state once a process.
Isa detected_isa();

// detected_isa(), lowered by the environment variable LLMCORE_ISA.
// Throws Error(invalid_argument) if the variable is no instruction set, or one that this machine lacks.
Isa isa_ceiling();

const char* isa_name(Isa isa);
// The processor's own name, or its architecture where there is none.
std::string cpu_name();
// Processors this process may use.
int available_processors();

}  // namespace llmcore
