#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_q5_k_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q5_k_amx = bf16_linear<SuperblockRows<Q5_K>>("linear_q5_k_amx");

}  // namespace llmcore
