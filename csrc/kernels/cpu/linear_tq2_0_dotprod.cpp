#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_ternary_neon.h"

namespace llmcore {

extern constinit const Kernel linear_tq2_0_dotprod = block_kernel<WeightsTQ2_0>("linear_tq2_0_dotprod");

}  // namespace llmcore
