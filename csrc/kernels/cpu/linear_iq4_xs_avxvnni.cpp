#include "kernels/cpu/weights_iq4_xs_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_xs_avxvnni =
    panels_kernel<Panels, cost>("linear_iq4_xs_avxvnni", Format::IQ4_XS);

}  // namespace llmcore
