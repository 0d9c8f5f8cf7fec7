#include "cuda/kernels/matmul_bf16_launch.h"
#include "cuda/packed/mxfp4.h"

namespace llmcore::cuda {

template void matmul_bf16_of<Packing::mxfp4>(const Stream&, const DeviceLimits&, const MatmulArgs&,
                                             const uint16_t*);

}  // namespace llmcore::cuda
