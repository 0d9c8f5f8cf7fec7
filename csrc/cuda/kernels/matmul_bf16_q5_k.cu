#include "cuda/kernels/matmul_bf16_launch.h"
#include "cuda/packed/q5_k.h"

namespace llmcore::cuda {

template void matmul_bf16_of<Packing::q5_k>(const Stream&, const DeviceLimits&, const MatmulArgs&,
                                            const uint16_t*);

}  // namespace llmcore::cuda
