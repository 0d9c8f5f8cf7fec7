#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_k_neon.h"

namespace llmcore {

extern constinit const Kernel linear_q5_k_i8mm = block_kernel<WeightsQ5_K>("linear_q5_k_i8mm");

}  // namespace llmcore
