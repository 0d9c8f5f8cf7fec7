#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q6_k_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q6_k_amx = bf16_linear<SuperblockRows<Q6_K>>("linear_q6_k_amx");

}  // namespace llmcore
