#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_mxfp4_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_mxfp4_amx = bf16_linear<BlockRows<MXFP4>>("linear_mxfp4_amx");

}  // namespace llmcore
