#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_tq1_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_tq1_0_avx512 = q8x256_linear<TQ1_0>("linear_tq1_0_avx512");

}  // namespace llmcore
