#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq2_xxs_scalar =
    reference_linear<ExpandIQ2_XXS>("linear_iq2_xxs_scalar");

}  // namespace llmcore
