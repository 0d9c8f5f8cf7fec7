// A backend behind the table of functions of a shared library.
#pragma once

#include "backend/backend.h"
#include "backend/device_abi.h"
#include "base/thread_pool.h"

namespace llmcore {

class PluginBackend final : public Backend {
public:
    // Creates the library's backend on its device of that number. The table stays where it is for good.
    // threads: of the host, for work between steps; 0: some. Throws Error(model) for a table of another
    // build, and what the library reports.
    explicit PluginBackend(const BackendTable& table, int threads = 0, std::int32_t device = 0);
    ~PluginBackend() override;
    PluginBackend(const PluginBackend&) = delete;
    PluginBackend& operator=(const PluginBackend&) = delete;

    AbiInfo device_info() const;

    BackendInfo info() const override;
    Buffer alloc(std::int64_t rows, std::int64_t cols) override;
    Weight upload(const WeightView& view) override;
    bool caches(Format format, std::int64_t head_dim) const override;
    std::int64_t weight_bytes(const WeightView& view) const override;
    void alloc_kv(const KvSpec& spec) override;
    std::int64_t kv_block_bytes() const override;
    void read_kv_block(std::int32_t block, std::byte* to) override;
    void write_kv_block(std::int32_t block, const std::byte* from) override;
    void copy_kv_block(std::int32_t from, std::int32_t to) override;
    ThreadPool* threads() override;
    // There are none: Error(model).
    std::shared_ptr<const Adapter> make_adapter(std::span<const LowRankChange> changes) const override;
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

private:
    const BackendTable& table_;
    void* backend_ = nullptr;
    int n_threads_;
    std::unique_ptr<ThreadPool> threads_;  // made when first asked for
};

}  // namespace llmcore
