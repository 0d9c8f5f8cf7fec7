#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_q3_k_scalar = reference_linear<ExpandQ3_K>("linear_q3_k_scalar");

}  // namespace llmcore
