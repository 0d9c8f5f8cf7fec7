#include "kernels/cpu/weights_q2_k_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q2_k_avx2 =
    panels_kernel<Panels, cost>("linear_q2_k_avx2", Format::Q2_K);

}  // namespace llmcore
