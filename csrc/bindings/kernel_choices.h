// Kernels that were measured, on their way in, and those that were chosen, on their way out.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "backend/backend.h"
#include "kernels/tuned_kernels.h"

namespace llmcore::bindings {

using TunedTuple = std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t>;  // kernel, m, n, k

// Throws Error(invalid_argument) for a kernel that is no linear one of this build, and for a side below 1.
TunedKernels read_tuned(const std::vector<TunedTuple>& tuples);

// Backend::kernel_uses as dicts.
pybind11::list kernel_uses(const Backend& backend);

}  // namespace llmcore::bindings
