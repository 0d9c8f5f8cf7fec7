#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_k_neon.h"

namespace llmcore {

extern constinit const Kernel linear_q2_k_neon = block_kernel<WeightsQ2_K>("linear_q2_k_neon");

}  // namespace llmcore
