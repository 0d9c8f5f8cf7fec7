// Finds the backend for a device name.
#pragma once

#include <memory>
#include <string_view>

#include "backend/backend.h"

namespace llmcore {

// device: "auto" or "cpu" (more as backends are found). threads: 0 for one a processor.
// Throws Error(invalid_argument) for an unknown device, Error(model) for one that is not there.
std::shared_ptr<Backend> load_backend(std::string_view device, int threads);

}  // namespace llmcore
