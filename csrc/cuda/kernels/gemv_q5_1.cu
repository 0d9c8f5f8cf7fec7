#include "cuda/kernels/gemv_kernel.h"

namespace llmcore::cuda {

template void gemv_of<Packing::q5_1>(const Stream&, const DeviceLimits&, const GemvArgs&);
template int gemv_rows_of<Packing::q5_1>(const DeviceLimits&, int64_t);

}  // namespace llmcore::cuda
