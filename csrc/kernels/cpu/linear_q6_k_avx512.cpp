#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_q6_k_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q6_k_avx512 = q8x256_linear<Q6_K>("linear_q6_k_avx512");

}  // namespace llmcore
