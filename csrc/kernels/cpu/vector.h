// The Vec of the instruction set this file is compiled for.
#pragma once

#if defined(__AVX512F__) || defined(LLMCORE_EMULATED_ISA)  // tests/cpp/isa_emulation
#include "kernels/cpu/vector_avx512.h"
#elif defined(__AVX2__)
#include "kernels/cpu/vector_avx2.h"
#else
#include "kernels/cpu/vector_neon.h"
#endif
