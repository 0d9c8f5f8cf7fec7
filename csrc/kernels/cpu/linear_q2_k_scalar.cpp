#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q2_k_scalar = reference_linear<ExpandQ2_K>("linear_q2_k_scalar");

}  // namespace llmcore
