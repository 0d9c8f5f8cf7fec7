// One step's work: the hinge between the scheduler, the decoder and every backend.
#pragma once

#include <cstdint>
#include <span>

namespace llmcore {

class Adapter;

// Sequences lie one after the other. A sequence that decodes has one token here, one in prefill a chunk of
// its prompt; nothing else tells them apart.
struct Batch {
    std::span<const std::int32_t> tokens;       // [n_tokens]
    std::span<const std::int32_t> positions;    // [n_tokens]: place of each token in its sequence
    std::span<const std::int32_t> row_starts;   // [n_sequences + 1]: the first row of each, then their number
    std::span<const std::int32_t> kv_lens;      // [n_sequences]: cached tokens once this step has run
    std::span<const std::int32_t> block_table;  // [n_sequences * block_table_stride]: KV blocks in order
    std::int64_t block_table_stride = 0;
    std::span<const std::int32_t> logit_rows;  // ascending rows whose logits are wanted; may be empty
    // [n_sequences]: of each, made by the backend that runs the step, or null; empty: none has one.
    std::span<const Adapter* const> adapters = {};
};

}  // namespace llmcore
