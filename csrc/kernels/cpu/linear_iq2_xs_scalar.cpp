#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xs_scalar = reference_linear<ExpandIQ2_XS>("linear_iq2_xs_scalar");

}  // namespace llmcore
