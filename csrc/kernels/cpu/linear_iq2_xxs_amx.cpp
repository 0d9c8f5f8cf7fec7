#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq2_xxs_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xxs_amx = bf16_linear<SuperblockRows<IQ2_XXS>>("linear_iq2_xxs_amx");

}  // namespace llmcore
