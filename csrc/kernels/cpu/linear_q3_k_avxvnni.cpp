#include "kernels/cpu/weights_q3_k_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_q3_k_avxvnni =
    panels_kernel<Panels, cost>("linear_q3_k_avxvnni", Format::Q3_K);

}  // namespace llmcore
