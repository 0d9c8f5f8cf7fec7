// Writes a GGUF file with the shape and size of a published model and random weights, fast: a pool of
// quantized random values is repeated from random places. It runs and is timed as the real one, here and in
// llama.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace llmcore::bench {

struct ModelShape {
    std::string name;
    std::int64_t n_layers, d_model, d_ff, n_heads, n_kv_heads, n_vocab;
};

// "8b" (Llama-3-8B) or "14b" (Qwen2.5-14B's dimensions). Throws Error(invalid_argument) for others.
ModelShape find_shape(const std::string& name);

// quant: Q4_0, Q4_K_M or Q8_0. Returns the bytes of weights that a token reads: all but the embedding's.
std::int64_t write_model(const std::string& path, const ModelShape& shape, const std::string& quant);

// The same count, without writing.
std::int64_t streamed_bytes(const ModelShape& shape, const std::string& quant);

}  // namespace llmcore::bench
