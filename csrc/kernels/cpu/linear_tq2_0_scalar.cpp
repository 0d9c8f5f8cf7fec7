#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_tq2_0_scalar = reference_linear<ExpandTQ2_0>("linear_tq2_0_scalar");

}  // namespace llmcore
