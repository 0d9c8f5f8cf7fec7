#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_s_scalar = reference_linear<ExpandIQ2_S>("linear_iq2_s_scalar");

}  // namespace llmcore
