#include "kernels/cpu/linear_q8x32_avx512.h"
#include "kernels/cpu/unpack_q8_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q8_0_avx512 = q8x32_linear<Q8_0>("linear_q8_0_avx512");

}  // namespace llmcore
