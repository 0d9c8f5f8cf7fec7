#include "kernels/cpu/weights_q6_k_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q6_k_avxvnni =
    panels_kernel<Panels, cost>("linear_q6_k_avxvnni", Format::Q6_K);

}  // namespace llmcore
