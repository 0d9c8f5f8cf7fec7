#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_k_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_xs_i8mm = block_kernel<WeightsIQ4_XS>("linear_iq4_xs_i8mm");

}  // namespace llmcore
