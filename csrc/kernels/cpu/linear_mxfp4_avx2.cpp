#include "kernels/cpu/weights_mxfp4_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_mxfp4_avx2 =
    panels_kernel<Panels, cost>("linear_mxfp4_avx2", Format::MXFP4);

}  // namespace llmcore
