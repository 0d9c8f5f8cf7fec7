#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_grid_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq1_s_dotprod = block_kernel<WeightsIQ1_S>("linear_iq1_s_dotprod");

}  // namespace llmcore
