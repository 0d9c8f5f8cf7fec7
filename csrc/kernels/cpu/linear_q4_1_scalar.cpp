#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q4_1_scalar = reference_linear<ExpandQ4_1>("linear_q4_1_scalar");

}  // namespace llmcore
