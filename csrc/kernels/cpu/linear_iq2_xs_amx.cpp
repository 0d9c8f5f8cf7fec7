#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq2_xs_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xs_amx = bf16_linear<SuperblockRows<IQ2_XS>>("linear_iq2_xs_amx");

}  // namespace llmcore
