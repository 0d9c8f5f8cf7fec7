#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_blocks_neon.h"

namespace llmcore {

extern constinit const Kernel linear_q4_0_neon = block_kernel<WeightsQ4_0>("linear_q4_0_neon");

}  // namespace llmcore
