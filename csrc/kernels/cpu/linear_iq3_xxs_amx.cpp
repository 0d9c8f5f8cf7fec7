#include "kernels/cpu/linear_panels_amx.h"
#include "kernels/cpu/unpack_iq3_xxs_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_xxs_amx = bf16_linear<SuperblockRows<IQ3_XXS>>("linear_iq3_xxs_amx");

}  // namespace llmcore
