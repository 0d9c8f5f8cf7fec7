#include "cuda/kernels/matmul_bf16_launch.h"

namespace llmcore::cuda {

template void matmul_bf16_of<Packing::bf16>(const Stream&, const DeviceLimits&, const MatmulArgs&,
                                            const uint16_t*);

}  // namespace llmcore::cuda
