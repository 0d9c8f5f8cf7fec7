#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_grid_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_s_i8mm = block_kernel<WeightsIQ3_S>("linear_iq3_s_i8mm");

}  // namespace llmcore
