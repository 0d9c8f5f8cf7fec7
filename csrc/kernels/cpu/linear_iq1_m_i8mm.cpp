#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_grid_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq1_m_i8mm = block_kernel<WeightsIQ1_M>("linear_iq1_m_i8mm");

}  // namespace llmcore
