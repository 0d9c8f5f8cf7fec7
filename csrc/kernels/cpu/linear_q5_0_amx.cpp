#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q5_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q5_0_amx = bf16_linear<BlockRows<Q5_0>>("linear_q5_0_amx");

}  // namespace llmcore
