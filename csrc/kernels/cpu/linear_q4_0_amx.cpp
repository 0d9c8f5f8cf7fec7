#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q4_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q4_0_amx = bf16_linear<BlockRows<Q4_0>>("linear_q4_0_amx");

}  // namespace llmcore
