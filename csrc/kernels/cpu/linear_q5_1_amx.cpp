#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q5_1_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q5_1_amx = bf16_linear<BlockRows<Q5_1>>("linear_q5_1_amx");

}  // namespace llmcore
