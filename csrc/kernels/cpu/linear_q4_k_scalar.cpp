#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q4_k_scalar = reference_linear<ExpandQ4_K>("linear_q4_k_scalar");

}  // namespace llmcore
