#include "kernels/cpu/weights_q5_k_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q5_k_avxvnni =
    panels_kernel<Panels, cost>("linear_q5_k_avxvnni", Format::Q5_K);

}  // namespace llmcore
