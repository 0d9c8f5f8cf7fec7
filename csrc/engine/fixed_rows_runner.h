// Runs every row the same way whatever stands beside it: deterministic mode.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model_runner.h"

namespace llmcore {

// Kernels are chosen, and some sum in another order, by the number of rows that a step has. Here the model
// always sees the same number, each as a sequence of its own over the cached tokens before it; what a step
// lacks is filled up with rows that write to a KV block of their own; rows that have another adapter run
// apart. So a row's result depends on its token, place and cached tokens alone, at the price of weights that
// are read once for `rows_` rows.
class FixedRowsRunner final : public ModelRunner {
public:
    // n_rows: at least 1, and at most what the inner runner's limits allow. It keeps the last KV block.
    FixedRowsRunner(std::unique_ptr<ModelRunner> inner, std::int64_t n_rows);

    RunnerLimits limits() const override { return limits_; }
    LoraAdapter make_adapter(const gguf::File& file, float scale) const override {
        return inner_->make_adapter(file, scale);
    }
    std::span<const float> forward(const Batch& batch) override { return run(batch, false); }
    std::span<const float> hidden_states(const Batch& batch) override { return run(batch, true); }
    std::int64_t kv_block_bytes() const override { return inner_->kv_block_bytes(); }
    void read_kv_block(std::int32_t block, std::byte* to) override { inner_->read_kv_block(block, to); }
    void write_kv_block(std::int32_t block, const std::byte* from) override {
        inner_->write_kv_block(block, from);
    }
    void copy_kv_block(std::int32_t from, std::int32_t to) override { inner_->copy_kv_block(from, to); }
    ThreadPool* threads() override { return inner_->threads(); }

private:
    std::span<const float> run(const Batch& batch, bool hidden);
    void begin_rows(const Batch& batch);
    void run_sequences(const Batch& batch, const Adapter* adapter, bool hidden);
    void add_row(const Batch& batch, std::size_t sequence, std::size_t row);
    void run_rows(const Adapter* adapter, bool hidden);

    const std::unique_ptr<ModelRunner> inner_;
    const std::int64_t n_rows_;
    RunnerLimits limits_;
    // The rows under way, in the form that Batch wants, and those of them whose results are wanted.
    std::int64_t stride_ = 0;
    std::vector<std::int32_t> tokens_, positions_, row_starts_, kv_lens_, block_table_, all_rows_;
    struct Wanted {
        std::size_t row;    // of those under way
        std::size_t place;  // in the result
    };
    std::vector<Wanted> wanted_;
    std::vector<float> result_;
};

}  // namespace llmcore
