#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_grid_neon.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_xxs_neon = block_kernel<WeightsIQ3_XXS>("linear_iq3_xxs_neon");

}  // namespace llmcore
