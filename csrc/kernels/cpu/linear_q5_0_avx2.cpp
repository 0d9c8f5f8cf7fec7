#include "kernels/cpu/weights_q5_0_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q5_0_avx2 =
    panels_kernel<Panels, cost>("linear_q5_0_avx2", Format::Q5_0);

}  // namespace llmcore
