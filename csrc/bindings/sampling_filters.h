// The sampling parameters that most requests leave alone, by their names in a dictionary.
#pragma once

#include <pybind11/pybind11.h>

#include "sampling/params.h"

namespace llmcore::bindings {

void read_filters(const pybind11::dict& filters, SamplingParams& sampling);

}  // namespace llmcore::bindings
