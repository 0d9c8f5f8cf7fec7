#include "linear_reference.h"
#include "quant/block_expand_grid.h"

namespace llmcore {

extern constinit const Kernel linear_iq3_xxs_scalar =
    reference_linear<ExpandIQ3_XXS>("linear_iq3_xxs_scalar");

}  // namespace llmcore
