// The one forward pass, for every architecture, encoders too: it walks the layers of a ModelSpec over a
// Backend. A model that is not causal wants each text of a batch whole.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/batch.h"
#include "gguf/reader.h"
#include "model/lora.h"
#include "model/spec.h"
#include "model/weights.h"

namespace llmcore {

struct DecoderLimits {
    std::int64_t max_step_tokens = 512;  // rows of a batch
    std::int64_t max_logit_rows = 512;   // rows whose logits one step may ask for
};

class Decoder {
public:
    // Uploads every weight of `file`, which is not needed afterwards; those that `formats` names are
    // converted. Throws Error(model) for a missing tensor or a wrong shape, and what `watch` throws.
    Decoder(const gguf::File& file, const ModelSpec& spec, const TensorFormats& formats,
            std::shared_ptr<Backend> backend, const DecoderLimits& limits, const UploadWatch& watch = {});

    // Lays out the cache: call once before forward.
    void alloc_kv(Format format, std::int64_t n_blocks);

    // Runs one step and returns [batch.logit_rows][n_vocab] logits, valid until the next call.
    // Throws Error(invalid_argument) if the batch exceeds the limits or names a token that does not exist,
    // and for a model without a head.
    std::span<const float> forward(const Batch& batch);

    // As forward, but returns the final normalized hidden states, [batch.logit_rows][d_model]; also of a
    // model without a head.
    std::span<const float> hidden_states(const Batch& batch);

    // As read_lora, of this model.
    LoraAdapter make_adapter(const gguf::File& file, float scale) const {
        return read_lora(file, spec_, weights_, scale, *backend_);
    }

    const ModelSpec& spec() const { return spec_; }
    const DecoderLimits& limits() const { return limits_; }
    std::int64_t weight_bytes() const { return weights_.bytes; }
    // Of the buffers between operations, once a step of the limits' size has run.
    std::int64_t activation_bytes() const { return activation_bytes_; }

private:
    Buffer alloc(std::int64_t rows, std::int64_t cols);
    void check(const Batch& batch) const;
    void run_layers();
    void run_attention(std::size_t index);
    void run_feed_forward(const LayerWeights& weights);
    void run_experts(const ExpertWeights& weights, Buffer residual, Buffer out);
    // Adds what a block made to the hidden state: through `norm`, if the model has one there.
    void add_to_hidden(Weight norm);
    // Norms the hidden state in place.
    void norm_hidden(const Norm& norm);

    ModelSpec spec_;
    DecoderLimits limits_;
    std::shared_ptr<Backend> backend_;
    ModelWeights weights_;
    std::int64_t activation_bytes_ = 0;
    // [max_step_tokens][...]; block_out_ where a norm follows a block, the others where there are experts.
    Buffer hidden_, normed_, q_, k_, v_, attention_, gated_, block_out_;
    Buffer router_, shared_gate_, shared_gated_;
    Buffer expert_gated_, expert_down_;   // [max_step_tokens * experts used][...]
    Buffer last_, last_normed_, logits_;  // [max_logit_rows][...]
};

}  // namespace llmcore
