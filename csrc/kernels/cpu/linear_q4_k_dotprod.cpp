#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_k_neon.h"

namespace llmcore {

extern constinit const Kernel linear_q4_k_dotprod = block_kernel<WeightsQ4_K>("linear_q4_k_dotprod");

}  // namespace llmcore
