#include "kernels/cpu/weights_iq4_xs_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_xs_avx2 =
    panels_kernel<Panels, cost>("linear_iq4_xs_avx2", Format::IQ4_XS);

}  // namespace llmcore
