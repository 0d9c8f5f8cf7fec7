// A name for everything that an answer's bits depend on beside the request.
#pragma once

#include <string>

#include "gguf/reader.h"
#include "model/weights.h"

namespace llmcore {

// Of a model as it is run: its metadata, the kinds and shapes of its tensors and the first and last 4096
// bytes of each, the formats they are converted to, the kernels that this process may use, and `settings`.
std::string fingerprint(const gguf::File& file, const TensorFormats& formats, const std::string& settings);

}  // namespace llmcore
