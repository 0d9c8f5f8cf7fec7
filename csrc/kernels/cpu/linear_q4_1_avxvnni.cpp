#include "kernels/cpu/weights_q4_1_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q4_1_avxvnni =
    panels_kernel<Panels, cost>("linear_q4_1_avxvnni", Format::Q4_1);

}  // namespace llmcore
