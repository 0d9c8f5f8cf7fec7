// A step under way, in the form that Batch wants.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/batch.h"

namespace llmcore {

class StepRows {
public:
    // block_table_stride: the most blocks that a sequence of the step has.
    void begin(std::size_t block_table_stride);
    // `tokens` of one sequence, the first at position `first`; the result of the last `n_wanted` is wanted.
    // adapter: its, or null.
    void add(std::span<const std::int32_t> tokens, std::int64_t first, std::span<const std::int32_t> blocks,
             std::int64_t n_wanted, const Adapter* adapter = nullptr);

    // Views of this object.
    Batch batch() const;
    std::int64_t n_rows() const { return static_cast<std::int64_t>(tokens_.size()); }
    std::int64_t n_wanted() const { return static_cast<std::int64_t>(logit_rows_.size()); }
    // The rows of the i-th sequence that was added, in a result of rows of `width`.
    std::span<const float> result_of(std::size_t i, std::span<const float> result, std::int64_t width) const;

private:
    std::size_t stride_ = 0;
    std::vector<std::int32_t> tokens_, positions_, row_starts_, kv_lens_, block_table_, logit_rows_;
    std::vector<const Adapter*> adapters_;     // empty while no sequence has one
    std::vector<std::int64_t> result_starts_;  // [n_sequences + 1]
};

}  // namespace llmcore
