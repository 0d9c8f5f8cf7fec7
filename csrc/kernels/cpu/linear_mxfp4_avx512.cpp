#include "kernels/cpu/linear_q8x32_avx512.h"
#include "kernels/cpu/unpack_mxfp4_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_mxfp4_avx512 = q8x32_linear<MXFP4>("linear_mxfp4_avx512");

}  // namespace llmcore
