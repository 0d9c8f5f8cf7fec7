#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_ternary_neon.h"

namespace llmcore {

extern constinit const Kernel linear_tq1_0_neon = block_kernel<WeightsTQ1_0>("linear_tq1_0_neon");

}  // namespace llmcore
