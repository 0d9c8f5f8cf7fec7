#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q5_0_scalar = reference_linear<ExpandQ5_0>("linear_q5_0_scalar");

}  // namespace llmcore
