#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq1_s_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq1_s_amx = bf16_linear<SuperblockRows<IQ1_S>>("linear_iq1_s_amx");

}  // namespace llmcore
