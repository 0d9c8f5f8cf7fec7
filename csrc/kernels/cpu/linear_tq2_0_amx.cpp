#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_tq2_0_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_tq2_0_amx = bf16_linear<SuperblockRows<TQ2_0>>("linear_tq2_0_amx");

}  // namespace llmcore
