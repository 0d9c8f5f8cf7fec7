#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q5_1_scalar = reference_linear<ExpandQ5_1>("linear_q5_1_scalar");

}  // namespace llmcore
