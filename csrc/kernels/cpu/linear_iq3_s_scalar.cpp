#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_s_scalar = reference_linear<ExpandIQ3_S>("linear_iq3_s_scalar");

}  // namespace llmcore
