#include "kernels/cpu/linear_q8x32_avx512.h"
#include "kernels/cpu/unpack_iq4_nl_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_nl_avx512 = q8x32_linear<IQ4_NL>("linear_iq4_nl_avx512");

}  // namespace llmcore
