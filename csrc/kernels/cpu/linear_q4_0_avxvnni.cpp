#include "kernels/cpu/weights_q4_0_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q4_0_avxvnni =
    panels_kernel<Panels, cost>("linear_q4_0_avxvnni", Format::Q4_0);

}  // namespace llmcore
