#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq2_s_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_s_amx = bf16_linear<SuperblockRows<IQ2_S>>("linear_iq2_s_amx");

}  // namespace llmcore
