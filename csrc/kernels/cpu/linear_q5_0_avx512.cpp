#include "kernels/cpu/linear_q8x32_avx512.h"
#include "kernels/cpu/unpack_q5_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q5_0_avx512 = q8x32_linear<Q5_0>("linear_q5_0_avx512");

}  // namespace llmcore
