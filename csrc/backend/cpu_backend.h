// The CPU backend: weights in the file's byte order on huge pages, kernels from the registry, one thread
// pool.
#pragma once

#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "backend/backend.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/registry.h"

namespace llmcore {

class CpuBackend final : public Backend {
public:
    CpuBackend(KernelSelector selector, int threads);

    BackendInfo info() const override;
    Buffer alloc(std::int64_t rows, std::int64_t cols) override;
    Weight upload(const WeightView& view) override;
    void alloc_kv(const KvSpec& spec) override;
    void begin(const Batch& batch) override;
    void embed(const EmbedOp& op) override;
    void norm(const NormOp& op) override;
    void linear(std::span<const LinearOp> ops) override;
    void rope_store(const RopeStoreOp& op) override;
    void attention(const AttentionOp& op) override;
    void gather_logit_rows(Buffer in, Buffer out) override;
    std::span<const float> end(Buffer result) override;

private:
    // An input converted for the kernels that read it: made once, shared until the buffer is written again.
    struct PackedForm {
        Layout layout = Layout::none;
        PageBuffer bytes;
        std::int64_t row_bytes = 0;
        bool valid = false;
    };

    struct BufferState {
        PageBuffer memory;
        std::int64_t rows = 0;  // capacity
        std::int64_t cols = 0;
        std::int64_t live_rows = 0;  // written in this step
        std::vector<PackedForm> packed;

        float* data() const { return reinterpret_cast<float*>(memory.data()); }
        void written(std::int64_t n) {
            live_rows = n;
            for (PackedForm& form : packed) form.valid = false;
        }
    };

    struct WeightState {
        PageBuffer memory;
        Format format = Format::none;
        std::int64_t rows = 0;
        std::int64_t cols = 0;
        std::int64_t row_bytes = 0;
        std::vector<const Kernel*> kernels;  // by rows of the batch, see kernel_index()

        const float* floats() const { return reinterpret_cast<const float*>(memory.data()); }
    };

    struct LinearJob;

    BufferState& buffer(Buffer handle) { return buffers_[static_cast<std::size_t>(handle.id)]; }
    WeightState& weight(Weight handle) { return weights_[static_cast<std::size_t>(handle.id)]; }
    const Kernel& linear_kernel(WeightState& weight, std::int64_t m);
    const Kernel& small_kernel(Op op, Format format, const Shape& shape, Layout out = Layout::f32);
    const PackedForm& packed_form(BufferState& input, Layout layout);
    LinearJob plan_linear(const LinearOp& op);
    void run_linear_rows(const LinearJob& job, std::int64_t begin, std::int64_t end, int worker);
    // Runs a kernel on a range of its rows, with the workspace it asks for.
    void run(const Kernel& kernel, const Shape& shape, const Args& args, std::int64_t begin, std::int64_t end,
             int worker);
    KvView kv_view(std::int64_t layer) const;

    KernelSelector selector_;
    ThreadPool pool_;
    std::vector<BufferState> buffers_;
    std::vector<WeightState> weights_;
    std::vector<PageBuffer> workspaces_;  // the kernels', one a thread
    std::vector<PageBuffer> scratches_;   // products before their epilogue, one a thread
    std::map<std::tuple<Op, Format, Layout, std::int64_t, std::int64_t, std::int64_t>, const Kernel*>
        small_kernels_;

    KvSpec kv_spec_;
    std::vector<PageBuffer> kv_layers_;

    Batch batch_;
    std::vector<std::int64_t> slots_;          // cache slot of each row
    std::vector<std::int32_t> row_sequences_;  // sequence of each row
};

}  // namespace llmcore
