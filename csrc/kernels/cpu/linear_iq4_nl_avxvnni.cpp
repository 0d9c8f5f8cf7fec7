#include "kernels/cpu/weights_iq4_nl_avx2.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_nl_avxvnni =
    panels_kernel<Panels, cost>("linear_iq4_nl_avxvnni", Format::IQ4_NL);

}  // namespace llmcore
