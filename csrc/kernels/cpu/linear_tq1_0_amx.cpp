#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_tq1_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_tq1_0_amx = bf16_linear<SuperblockRows<TQ1_0>>("linear_tq1_0_amx");

}  // namespace llmcore
