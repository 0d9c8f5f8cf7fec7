#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_f16_scalar = reference_linear<ExpandF16>("linear_f16_scalar");

}  // namespace llmcore
