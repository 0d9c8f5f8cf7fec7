#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_grid_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xxs_dotprod = block_kernel<WeightsIQ2_XXS>("linear_iq2_xxs_dotprod");

}  // namespace llmcore
