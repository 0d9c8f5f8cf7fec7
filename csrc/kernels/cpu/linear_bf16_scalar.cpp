#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_bf16_scalar = reference_linear<ExpandBF16>("linear_bf16_scalar");

}  // namespace llmcore
