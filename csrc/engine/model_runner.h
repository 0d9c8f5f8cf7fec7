// What the engine needs of a model: the decoder in service, a stand-in under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "backend/batch.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "gguf/reader.h"
#include "model/lora.h"
#include "model/pooling.h"

namespace llmcore {

struct RunnerLimits {
    std::int64_t n_vocab = 0;
    std::int64_t d_model = 0;
    std::int64_t n_ctx = 0;
    std::int64_t kv_block_tokens = 0;
    std::int64_t kv_blocks = 0;
    std::int64_t max_step_tokens = 0;
    std::int64_t max_logit_rows = 0;
    std::int64_t max_sequences = std::numeric_limits<std::int64_t>::max();  // of a step
    bool encodes = false;             // makes vectors of texts, whole ones, and has no logits
    Pooling pooling = Pooling::mean;  // the model's own
};

class ModelRunner {
public:
    virtual ~ModelRunner() = default;
    virtual RunnerLimits limits() const = 0;
    // An adapter that batches of this runner may name; throws as read_lora. From any thread, beside steps.
    virtual LoraAdapter make_adapter(const gguf::File&, float) const {
        fail(ErrorCode::model, "engine", "this model takes no LoRA adapters");
    }
    // [batch.logit_rows][n_vocab], valid until the next call.
    virtual std::span<const float> forward(const Batch& batch) = 0;
    // [batch.logit_rows][d_model], valid until the next call.
    virtual std::span<const float> hidden_states(const Batch& batch) = 0;

    // Blocks of the cache copied, between steps: see Backend. 0 bytes: that is not possible.
    virtual std::int64_t kv_block_bytes() const { return 0; }
    virtual void read_kv_block(std::int32_t /*block*/, std::byte* /*to*/) {}
    virtual void write_kv_block(std::int32_t /*block*/, const std::byte* /*from*/) {}
    virtual void copy_kv_block(std::int32_t /*from*/, std::int32_t /*to*/) {}

    // Threads of the host that are idle between steps; null: there are none.
    virtual ThreadPool* threads() { return nullptr; }
};

}  // namespace llmcore
