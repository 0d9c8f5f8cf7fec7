#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q8_0_scalar = reference_linear<ExpandQ8_0>("linear_q8_0_scalar");

}  // namespace llmcore
