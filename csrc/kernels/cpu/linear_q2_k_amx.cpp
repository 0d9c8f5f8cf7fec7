#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q2_k_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q2_k_amx = bf16_linear<SuperblockRows<Q2_K>>("linear_q2_k_amx");

}  // namespace llmcore
