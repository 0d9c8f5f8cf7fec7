#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_xs_scalar = reference_linear<ExpandIQ4_XS>("linear_iq4_xs_scalar");

}  // namespace llmcore
