#include "engine/fixed_rows_runner.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace llmcore {

FixedRowsRunner::FixedRowsRunner(std::unique_ptr<ModelRunner> inner, std::int64_t n_rows)
    : inner_(std::move(inner)), n_rows_(n_rows), limits_(inner_->limits()) {
    if (n_rows > std::min({limits_.max_step_tokens, limits_.max_logit_rows, limits_.kv_block_tokens}) ||
        limits_.kv_blocks < 2) {
        fail(ErrorCode::invalid_argument, "engine", "deterministic mode needs room for its rows");
    }
    --limits_.kv_blocks;
    for (std::int32_t row = 0; row < static_cast<std::int32_t>(n_rows); ++row) all_rows_.push_back(row);
}

void FixedRowsRunner::begin_rows(const Batch& batch) {
    stride_ = std::max<std::int64_t>(1, batch.block_table_stride);
    for (auto* list : {&tokens_, &positions_, &kv_lens_, &block_table_}) list->clear();
    row_starts_.assign(1, 0);
    wanted_.clear();
}

void FixedRowsRunner::add_row(const Batch& batch, std::size_t sequence, std::size_t row) {
    tokens_.push_back(batch.tokens[row]);
    positions_.push_back(batch.positions[row]);
    row_starts_.push_back(static_cast<std::int32_t>(tokens_.size()));
    kv_lens_.push_back(batch.positions[row] + 1);
    const auto stride = static_cast<std::size_t>(batch.block_table_stride);
    const auto blocks = batch.block_table.subspan(sequence * stride, stride);
    block_table_.insert(block_table_.end(), blocks.begin(), blocks.end());
    block_table_.resize(tokens_.size() * static_cast<std::size_t>(stride_), 0);
}

void FixedRowsRunner::run_rows(const Adapter* adapter, bool hidden) {
    // Padding: places 0, 1, … of the block that is kept, one a row, each its own only cached token.
    while (static_cast<std::int64_t>(tokens_.size()) < n_rows_) {
        positions_.push_back(static_cast<std::int32_t>(tokens_.size()));
        kv_lens_.push_back(positions_.back() + 1);
        tokens_.push_back(0);
        row_starts_.push_back(static_cast<std::int32_t>(tokens_.size()));
        block_table_.resize(tokens_.size() * static_cast<std::size_t>(stride_),
                            static_cast<std::int32_t>(limits_.kv_blocks));
    }
    const std::vector<const Adapter*> adapters(adapter == nullptr ? 0 : tokens_.size(), adapter);
    // The head of the model is a product too: all its rows, or none.
    const Batch batch{.tokens = tokens_,
                      .positions = positions_,
                      .row_starts = row_starts_,
                      .kv_lens = kv_lens_,
                      .block_table = block_table_,
                      .block_table_stride = stride_,
                      .logit_rows = wanted_.empty() ? std::span<const std::int32_t>() : all_rows_,
                      .adapters = adapters};
    const std::span<const float> rows = hidden ? inner_->hidden_states(batch) : inner_->forward(batch);
    const auto width = static_cast<std::size_t>(hidden ? limits_.d_model : limits_.n_vocab);
    for (const Wanted& wanted : wanted_)
        std::copy_n(rows.data() + wanted.row * width, width, result_.data() + wanted.place * width);
}

void FixedRowsRunner::run_sequences(const Batch& batch, const Adapter* adapter, bool hidden) {
    begin_rows(batch);
    std::size_t next_wanted = 0;
    for (std::size_t sequence = 0; sequence + 1 < batch.row_starts.size(); ++sequence) {
        const auto first = static_cast<std::size_t>(batch.row_starts[sequence]);
        const auto end = static_cast<std::size_t>(batch.row_starts[sequence + 1]);
        const bool concerned = adapter == (batch.adapters.empty() ? nullptr : batch.adapters[sequence]);
        for (std::size_t row = first; row < end; ++row) {
            const bool wanted = next_wanted < batch.logit_rows.size() &&
                                static_cast<std::size_t>(batch.logit_rows[next_wanted]) == row;
            if (concerned) {
                if (wanted) wanted_.push_back({tokens_.size(), next_wanted});
                add_row(batch, sequence, row);
            }
            if (wanted) ++next_wanted;
            if (static_cast<std::int64_t>(tokens_.size()) == n_rows_) {
                run_rows(adapter, hidden);
                begin_rows(batch);
            }
        }
    }
    if (!tokens_.empty()) run_rows(adapter, hidden);
}

std::span<const float> FixedRowsRunner::run(const Batch& batch, bool hidden) {
    result_.resize(batch.logit_rows.size() *
                   static_cast<std::size_t>(hidden ? limits_.d_model : limits_.n_vocab));
    std::vector<const Adapter*> adapters(batch.adapters.begin(), batch.adapters.end());
    std::sort(adapters.begin(), adapters.end());
    adapters.erase(std::unique(adapters.begin(), adapters.end()), adapters.end());
    if (adapters.empty()) adapters.push_back(nullptr);
    for (const Adapter* adapter : adapters) run_sequences(batch, adapter, hidden);
    return result_;
}

}  // namespace llmcore
