#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_iq3_s_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_s_avx512 = q8x256_linear<IQ3_S>("linear_iq3_s_avx512");

}  // namespace llmcore
