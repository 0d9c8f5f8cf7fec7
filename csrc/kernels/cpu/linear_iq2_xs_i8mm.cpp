#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_grid_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xs_i8mm = block_kernel<WeightsIQ2_XS>("linear_iq2_xs_i8mm");

}  // namespace llmcore
