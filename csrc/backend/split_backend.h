// A model over two backends: its first layers on one, the others on the other. What crosses the border in a
// step is the hidden state, once.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace llmcore {

class SplitBackend final : public Backend {
public:
    // The embedding and the layers before number `border` are front's, the others and the head back's. Throws
    // Error(model) where the two divide their caches differently.
    SplitBackend(std::shared_ptr<Backend> front, std::shared_ptr<Backend> back, std::int64_t border);

    // memory_bytes: of the one that has memory of its own.
    BackendInfo info() const override;
    Buffer alloc(std::int64_t rows, std::int64_t cols) override;
    // A weight that both sides read is on both.
    Weight upload(const WeightView& view) override;
    std::int64_t weight_bytes(const WeightView& view) const override;
    bool caches(Format format, std::int64_t head_dim) const override;
    void alloc_kv(const KvSpec& spec) override;
    std::shared_ptr<const Adapter> make_adapter(std::span<const LowRankChange> changes) const override;
    std::int64_t kv_block_bytes() const override;
    void read_kv_block(std::int32_t block, std::byte* to) override;
    void write_kv_block(std::int32_t block, const std::byte* from) override;
    void copy_kv_block(std::int32_t from, std::int32_t to) override;
    // Of a side that computes on the host, where one does.
    ThreadPool* threads() override;
    void begin(const Batch& batch) override;
    void write_rows(Buffer to, std::span<const float> values) override;
    void embed(const EmbedOp& op) override;
    void norm(const NormOp& op) override;
    void linear(std::span<const LinearOp> ops) override;
    void moe(const MoeOp& op) override;
    void rope_store(const RopeStoreOp& op) override;
    void attention(const AttentionOp& op) override;
    void gather_logit_rows(Buffer in, Buffer out) override;
    std::span<const float> end(Buffer result) override;
    std::vector<KernelUse> kernel_uses() const override;

private:
    // Handles of the two sides, by side; that of a weight is empty where it is not.
    static constexpr std::size_t kFront = 0;
    static constexpr std::size_t kBack = 1;
    struct BufferState {
        std::array<Buffer, 2> handles;
        std::size_t side = kFront;  // where its rows are in this step
    };
    using WeightState = std::array<Weight, 2>;

    bool reads(std::size_t side, const LayerSpan& readers) const {
        return side == kFront ? readers.first < border_ : readers.last >= border_;
    }
    Backend& here() { return *sides_[side_]; }
    void enter_side_of(Weight weight);
    // Handles of the side the step is at.
    Weight local(Weight weight) const;
    Buffer read(Buffer buffer);
    Buffer written(Buffer buffer);
    std::int64_t local_layer(std::int64_t layer) const;
    LinearOp local(const LinearOp& op);

    std::array<std::shared_ptr<Backend>, 2> sides_;
    const std::int64_t border_;
    std::vector<BufferState> buffers_;
    std::vector<WeightState> weights_;
    bool one_cache_layer_ = false;  // serves all layers: see ModelSpec::n_cache_layers

    std::size_t side_ = kFront;                            // of this step
    bool crossed_ = false;                                 // its hidden state is on the other side
    std::array<std::vector<const Adapter*>, 2> adapters_;  // of this step's sequences
    std::vector<LinearOp> linear_ops_;
};

}  // namespace llmcore
