// LoRA adapters (Hu et al. 2021) from the GGUF files that llama.cpp's convert_lora_to_gguf.py writes.
#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"
#include "gguf/reader.h"
#include "model/spec.h"
#include "model/weights.h"

namespace llmcore {

struct LoraAdapter {
    std::shared_ptr<const Adapter> weights;
    std::int64_t largest_rank = 0;
    std::int64_t n_matrices = 0;  // that it changes
};

// Reads an adapter of this model: for each tensor W it changes, `W.lora_a` of [rank][columns of W] and
// `W.lora_b` of [rows of W][rank], which together count scale * adapter.lora.alpha / rank (scale alone, where
// alpha is 0 or absent). From any thread, beside steps. Throws Error(model) that says what is wrong: another
// model's adapter, tensors of unknown names, of no matrix, of experts or of the token embedding, halves that
// are missing or do not fit, formats other than F32, F16 and BF16, scales that are not finite.
LoraAdapter read_lora(const gguf::File& file, const ModelSpec& spec, const ModelWeights& weights, float scale,
                      const Backend& backend);

}  // namespace llmcore
