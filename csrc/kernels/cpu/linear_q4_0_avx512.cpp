#include "kernels/cpu/linear_q8x32_avx512.h"
#include "kernels/cpu/unpack_q4_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q4_0_avx512 = q8x32_linear<Q4_0>("linear_q4_0_avx512");

}  // namespace llmcore
