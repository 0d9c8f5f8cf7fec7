#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q4_1_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q4_1_amx = bf16_linear<BlockRows<Q4_1>>("linear_q4_1_amx");

}  // namespace llmcore
