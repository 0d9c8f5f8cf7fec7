#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_f32_scalar = reference_linear<ExpandF32>("linear_f32_scalar");

}  // namespace llmcore
