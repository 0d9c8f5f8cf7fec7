#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_blocks_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_nl_i8mm = block_kernel<WeightsIQ4_NL>("linear_iq4_nl_i8mm");

}  // namespace llmcore
