#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q5_k_scalar = reference_linear<ExpandQ5_K>("linear_q5_k_scalar");

}  // namespace llmcore
