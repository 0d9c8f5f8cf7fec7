#include "engine/step_rows.h"

namespace llmcore {

void StepRows::begin(std::size_t block_table_stride) {
    stride_ = block_table_stride;
    for (auto* list : {&tokens_, &positions_, &row_starts_, &kv_lens_, &block_table_, &logit_rows_}) {
        list->clear();
    }
    adapters_.clear();
    row_starts_.push_back(0);
    result_starts_.assign(1, 0);
}

void StepRows::add(std::span<const std::int32_t> tokens, std::int64_t first,
                   std::span<const std::int32_t> blocks, std::int64_t n_wanted, const Adapter* adapter) {
    auto position = static_cast<std::int32_t>(first);
    for (const std::int32_t token : tokens) {
        tokens_.push_back(token);
        positions_.push_back(position++);
    }
    const auto end = static_cast<std::int32_t>(tokens_.size());
    row_starts_.push_back(end);
    kv_lens_.push_back(position);
    for (std::int32_t row = end - static_cast<std::int32_t>(n_wanted); row < end; ++row) {
        logit_rows_.push_back(row);
    }
    result_starts_.push_back(n_wanted + result_starts_.back());
    block_table_.insert(block_table_.end(), blocks.begin(), blocks.end());
    block_table_.resize(stride_ * (row_starts_.size() - 1), 0);
    if (adapter != nullptr || !adapters_.empty()) {
        adapters_.resize(row_starts_.size() - 1, nullptr);
        adapters_.back() = adapter;
    }
}

Batch StepRows::batch() const {
    return {.tokens = tokens_,
            .positions = positions_,
            .row_starts = row_starts_,
            .kv_lens = kv_lens_,
            .block_table = block_table_,
            .block_table_stride = static_cast<std::int64_t>(stride_),
            .logit_rows = logit_rows_,
            .adapters = adapters_};
}

std::span<const float> StepRows::result_of(std::size_t i, std::span<const float> result,
                                           std::int64_t width) const {
    const std::int64_t begin = result_starts_[i] * width;
    const std::int64_t end = result_starts_[i + 1] * width;
    return result.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

}  // namespace llmcore
