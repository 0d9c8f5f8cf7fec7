#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q4_0_scalar = reference_linear<ExpandQ4_0>("linear_q4_0_scalar");

}  // namespace llmcore
