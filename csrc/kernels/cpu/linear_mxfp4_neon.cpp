#include "kernels/cpu/block_kernel_neon.h"
#include "kernels/cpu/weights_blocks_neon.h"

namespace llmcore {

extern constinit const Kernel linear_mxfp4_neon = block_kernel<WeightsMXFP4>("linear_mxfp4_neon");

}  // namespace llmcore
