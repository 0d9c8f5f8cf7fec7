#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_iq2_xxs_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xxs_avx512 = q8x256_linear<IQ2_XXS>("linear_iq2_xxs_avx512");

}  // namespace llmcore
