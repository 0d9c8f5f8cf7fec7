// Stands before the compiler's header where kernels of AVX-VNNI, AVX-512 and AMX are compiled to run on any
// x86 with AVX2.
//
// Kernels call intrinsics from inside namespace llmcore, so functions of that namespace hide the compiler's
// of the same name. What is defined here means what Intel's manual says, a little stricter: lanes that the
// manual leaves undefined hold garbage, and a misaligned or misconfigured access aborts.
#pragma once

#include_next <immintrin.h>

#include "isa_emulation/avx512.h"
#include "isa_emulation/avxvnni.h"
#include "isa_emulation/tiles.h"
