// What a model would take of a device: a backend that counts what it is asked for, and keeps and runs
// nothing.
#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"

namespace llmcore {

// In bytes, weights as the device keeps them.
struct MemoryNeed {
    std::vector<std::int64_t> layers;  // weights of each
    std::int64_t embedding = 0;        // weights that only what precedes the layers reads
    std::int64_t head = 0;             // weights that what follows them reads, or every layer
    std::int64_t largest_weight = 0;   // as it comes: a device may hold it beside its packed form for a while
    std::int64_t activations = 0;
};

class MemoryProbe final : public Backend {
public:
    MemoryProbe(std::shared_ptr<const Backend> device, std::size_t n_layers) : device_(std::move(device)) {
        need_.layers.resize(n_layers);
    }

    const MemoryNeed& need() const { return need_; }

    BackendInfo info() const override { return device_->info(); }
    Buffer alloc(std::int64_t rows, std::int64_t cols) override;
    Weight upload(const WeightView& view) override;
    std::int64_t weight_bytes(const WeightView& view) const override { return device_->weight_bytes(view); }
    void alloc_kv(const KvSpec&) override {}
    std::shared_ptr<const Adapter> make_adapter(std::span<const LowRankChange>) const override { refuse(); }
    void begin(const Batch&) override { refuse(); }
    void write_rows(Buffer, std::span<const float>) override { refuse(); }
    void embed(const EmbedOp&) override { refuse(); }
    void norm(const NormOp&) override { refuse(); }
    void linear(std::span<const LinearOp>) override { refuse(); }
    void moe(const MoeOp&) override { refuse(); }
    void rope_store(const RopeStoreOp&) override { refuse(); }
    void attention(const AttentionOp&) override { refuse(); }
    void gather_logit_rows(Buffer, Buffer) override { refuse(); }
    std::span<const float> end(Buffer) override { refuse(); }

private:
    [[noreturn]] static void refuse();

    std::shared_ptr<const Backend> device_;
    MemoryNeed need_;
    std::int32_t handles_ = 0;
};

}  // namespace llmcore
