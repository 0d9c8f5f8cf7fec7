#include "kernels/cpu/linear_q8x256_avx512.h"
#include "kernels/cpu/unpack_q4_k_avx512.h"

namespace llmcore {

extern constinit const Kernel linear_q4_k_avx512 = q8x256_linear<Q4_K>("linear_q4_k_avx512");

}  // namespace llmcore
