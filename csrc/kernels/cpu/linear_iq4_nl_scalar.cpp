#include "linear_reference.h"

namespace llmcore {

extern constinit const Kernel linear_iq4_nl_scalar = reference_linear<ExpandIQ4_NL>("linear_iq4_nl_scalar");

}  // namespace llmcore
