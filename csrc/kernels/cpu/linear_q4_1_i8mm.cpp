#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_blocks_neon.h"

namespace llmcore {

extern constinit const Kernel linear_q4_1_i8mm = block_kernel<WeightsQ4_1>("linear_q4_1_i8mm");

}  // namespace llmcore
