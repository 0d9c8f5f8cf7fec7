#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq1_m_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq1_m_amx = bf16_linear<SuperblockRows<IQ1_M>>("linear_iq1_m_amx");

}  // namespace llmcore
