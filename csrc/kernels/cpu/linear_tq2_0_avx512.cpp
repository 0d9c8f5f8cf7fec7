#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_tq2_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_tq2_0_avx512 = q8x256_linear<TQ2_0>("linear_tq2_0_avx512");

}  // namespace llmcore
