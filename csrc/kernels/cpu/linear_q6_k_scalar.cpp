#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q6_k_scalar = reference_linear<ExpandQ6_K>("linear_q6_k_scalar");

}  // namespace llmcore
