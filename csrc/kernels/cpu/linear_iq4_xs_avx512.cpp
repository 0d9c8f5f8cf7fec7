#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_iq4_xs_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_xs_avx512 = q8x256_linear<IQ4_XS>("linear_iq4_xs_avx512");

}  // namespace llmcore
