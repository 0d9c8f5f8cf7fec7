// A name for everything that an answer's bits depend on beside the request.
#pragma once

#include <cstdint>
#include <string>

#include "gguf/reader.h"
#include "model/spec.h"
#include "model/weights.h"

namespace llmcore {

// Of a model as it is run: its metadata, the kinds and shapes of its tensors and the first and last 4096
// bytes of each, the formats they are converted to, the kernels that this process may use, and `settings`.
std::string fingerprint(const gguf::File& file, const TensorFormats& formats, const std::string& settings);

// The same under one more setting, which decides no cached bytes.
std::string fingerprint(const std::string& model, const std::string& setting);

// A name for what decides the bytes of a KV block of such a model: files of another one are of no use to it.
// fingerprint: of the model as it was loaded, the cache's format included.
std::uint64_t cache_fingerprint(const std::string& fingerprint, const ModelSpec& spec,
                                std::int64_t block_tokens);

}  // namespace llmcore
