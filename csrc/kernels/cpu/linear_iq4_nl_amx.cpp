#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq4_nl_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_nl_amx = bf16_linear<BlockRows<IQ4_NL>>("linear_iq4_nl_amx");

}  // namespace llmcore
