#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq1_s_scalar = reference_linear<ExpandIQ1_S>("linear_iq1_s_scalar");

}  // namespace llmcore
