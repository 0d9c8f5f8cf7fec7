#include "cuda/kernels/matmul_bf16_launch.h"
#include "cuda/packed/iq4_xs.h"

namespace llmcore::cuda {

template void matmul_bf16_of<Packing::iq4_xs>(const Stream&, const DeviceLimits&, const MatmulArgs&,
                                              const uint16_t*);

}  // namespace llmcore::cuda
