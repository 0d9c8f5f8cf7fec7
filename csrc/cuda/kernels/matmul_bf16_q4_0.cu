#include "cuda/kernels/matmul_bf16_launch.h"
#include "cuda/packed/q4_0.h"

namespace llmcore::cuda {

template void matmul_bf16_of<Packing::q4_0>(const Stream&, const DeviceLimits&, const MatmulArgs&,
                                            const uint16_t*);

}  // namespace llmcore::cuda
