#include "kernels/cpu/weights_q5_1_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q5_1_avxvnni =
    panels_kernel<Panels, cost>("linear_q5_1_avxvnni", Format::Q5_1);

}  // namespace llmcore
