#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq3_s_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_s_amx = bf16_linear<SuperblockRows<IQ3_S>>("linear_iq3_s_amx");

}  // namespace llmcore
