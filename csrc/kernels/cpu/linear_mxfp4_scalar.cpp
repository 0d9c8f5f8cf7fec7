#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_mxfp4_scalar = reference_linear<ExpandMXFP4>("linear_mxfp4_scalar");

}  // namespace llmcore
