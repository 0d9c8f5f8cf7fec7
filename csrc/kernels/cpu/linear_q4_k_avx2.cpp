#include "kernels/cpu/weights_q4_k_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q4_k_avx2 =
    panels_kernel<Panels, cost>("linear_q4_k_avx2", Format::Q4_K);

}  // namespace llmcore
