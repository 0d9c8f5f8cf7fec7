#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_blocks_neon.h"

namespace llmcore {

extern constinit const Kernel linear_q5_1_neon = block_kernel<WeightsQ5_1>("linear_q5_1_neon");

}  // namespace llmcore
