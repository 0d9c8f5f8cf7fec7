#include "kernels/cpu/weights_q8_0_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q8_0_avx2 =
    panels_kernel<Panels, cost>("linear_q8_0_avx2", Format::Q8_0);

}  // namespace llmcore
