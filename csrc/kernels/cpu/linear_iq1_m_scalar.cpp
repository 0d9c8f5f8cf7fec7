#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq1_m_scalar = reference_linear<ExpandIQ1_M>("linear_iq1_m_scalar");

}  // namespace llmcore
