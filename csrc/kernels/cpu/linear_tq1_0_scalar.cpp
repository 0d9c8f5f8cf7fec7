#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_tq1_0_scalar = reference_linear<ExpandTQ1_0>("linear_tq1_0_scalar");

}  // namespace llmcore
