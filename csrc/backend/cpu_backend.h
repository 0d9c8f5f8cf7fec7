// The CPU backend: weights in the file's byte order on huge pages, kernels from the registry, one thread
// pool.
#pragma once

#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu_adapter.h"
#include "backend/kernel_ledger.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/registry.h"

namespace llmcore {

class CpuBackend final : public Backend {
public:
    // threads: may be shared with other backends that run in turn. weights_in_place: matrices stay where
    // their views' data is, which outlives the backend.
    CpuBackend(KernelSelector selector, std::shared_ptr<ThreadPool> threads, bool weights_in_place = false);

    BackendInfo info() const override;
    Buffer alloc(std::int64_t rows, std::int64_t cols) override;
    Weight upload(const WeightView& view) override;
    std::int64_t weight_bytes(const WeightView& view) const override;
    bool caches(Format format, std::int64_t head_dim) const override;
    void alloc_kv(const KvSpec& spec) override;
    std::shared_ptr<const Adapter> make_adapter(std::span<const LowRankChange> changes) const override;
    std::int64_t kv_block_bytes() const override;
    void read_kv_block(std::int32_t block, std::byte* to) override;
    void write_kv_block(std::int32_t block, const std::byte* from) override;
    void copy_kv_block(std::int32_t from, std::int32_t to) override;
    ThreadPool* threads() override { return &pool_; }
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
    std::vector<KernelUse> kernel_uses() const override { return ledger_.uses(selector_); }

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
        bool of_logit_rows = false;  // its rows are the batch's logit_rows, not the batch's
        std::vector<PackedForm> packed;

        float* data() const { return reinterpret_cast<float*>(memory.data()); }
        void written(std::int64_t n) {
            live_rows = n;
            for (PackedForm& form : packed) form.valid = false;
        }
    };

    struct WeightState {
        const std::byte* bytes = nullptr;  // its rows: the backend's, or left in place
        Format format = Format::none;
        std::int64_t rows = 0;
        std::int64_t cols = 0;
        std::int64_t row_bytes = 0;
        std::vector<const Kernel*> kernels;  // by rows of the batch, see row_class()

        const float* floats() const { return reinterpret_cast<const float*>(bytes); }
    };

    // Rows of the step that have the same adapter.
    struct AdaptedRows {
        const CpuAdapter* adapter = nullptr;
        std::vector<std::int32_t> rows;
        std::vector<std::int32_t> logit_rows;  // places in the batch's logit_rows
    };

    // scale * in A^T of the rows that have a change, [m][rank]: the first half of it, made before the
    // products.
    struct LowProduct {
        const CpuAdapter::Part* part = nullptr;
        const Kernel* kernel = nullptr;
        LinearArgs args;
        std::size_t offset = 0;  // of the result in low_rows_
        std::int64_t first_chunk = 0;
    };

    // The second half: the product of those and B, added to the rows it belongs to.
    struct RowChange {
        const Kernel* kernel = nullptr;
        LinearArgs args;
        std::span<const std::int32_t> rows;
        std::size_t low_product = 0;
    };

    // One product with its epilogue, resolved: which kernels, where the operands are, how its rows are cut.
    struct LinearJob {
        const Kernel* kernel = nullptr;
        const Kernel* up_kernel = nullptr;
        const Kernel* glu = nullptr;
        LinearArgs args;
        LinearArgs up_args;
        const float* bias = nullptr;
        const float* up_bias = nullptr;
        const float* residual = nullptr;
        const float* gate = nullptr;
        std::vector<RowChange> changes;
        std::vector<RowChange> up_changes;
        Activation activation = Activation::none;
        float softcap = 0.0F;
        std::int64_t chunk_rows = 0;
        std::int64_t n_chunks = 0;
        std::int64_t first_chunk = 0;

        bool has_epilogue() const {
            return bias != nullptr || residual != nullptr || gate != nullptr || glu != nullptr ||
                   is_changed();
        }
        bool is_changed() const { return !changes.empty() || !up_changes.empty(); }
        Shape shape() const { return {.m = args.m, .n = args.n, .k = args.k}; }
    };

    // Which experts the rows of a step go to, see route().
    struct Routing {
        std::vector<std::int32_t> experts;       // [rows][n_used], the likeliest first
        std::vector<float> weights;              // [rows][n_used]
        std::vector<std::int64_t> slots;         // [rows][n_used]
        std::vector<std::int64_t> slot_rows;     // [rows * n_used]: the row of each slot
        std::vector<std::int64_t> expert_begin;  // [n_experts + 1]: an expert's first slot, then their number
    };

    // Multiply-adds below which waking a thread costs more than it saves: about ten microseconds of one
    // thread's work.
    static constexpr std::int64_t kInlineWork = 100'000;

    static std::byte* grown(PageBuffer& memory, std::size_t bytes) {
        if (memory.size() < bytes) memory = PageBuffer(bytes);
        return memory.data();
    }

    BufferState& buffer(Buffer handle) { return buffers_[static_cast<std::size_t>(handle.id)]; }
    WeightState& weight(Weight handle) { return weights_[static_cast<std::size_t>(handle.id)]; }
    void copy_rows(const WeightView& view, std::byte* target, std::int64_t bytes);
    void convert_rows(const WeightView& view, std::byte* target);
    const Kernel& linear_kernel(WeightState& weight, std::int64_t m, std::int64_t n, bool gathered);
    const Kernel& small_kernel(Op op, Format format, const Shape& shape, Layout out = Layout::f32);
    const PackedForm& packed_form(BufferState& input, Layout layout);
    static const std::byte* packed_rows(const BufferState& input, const PackedForm& form);
    void cut(LinearJob& job) const;
    LinearJob plan_linear(const LinearOp& op);
    void add_row(Weight table, std::int64_t row, float* values, int worker);
    template <class A>
    void run_norm(Op kind, const NormOp& op, A args);
    void run_jobs(std::vector<LinearJob>& jobs);
    void run_linear_rows(const LinearJob& job, std::int64_t begin, std::int64_t end, int worker);
    void add_change(const RowChange& change, std::int64_t begin, std::int64_t end, float* values,
                    float* added, int worker);
    void note_adapters(const Batch& batch);
    void plan_changes(std::span<const LinearOp> ops, std::vector<LinearJob>& jobs);
    std::size_t low_product(const CpuAdapter::Part& part, const float* rows, std::int64_t m,
                            std::int64_t cols);
    void run_low_products();
    const float* rows_of(const BufferState& input, std::span<const std::int32_t> rows, PageBuffer& room);
    const Kernel& float_kernel(Format format, const Shape& shape);
    void route(const MoeOp& op);
    const std::byte* gathered_rows(BufferState& input, const PackedForm& form);
    void combine(const MoeOp& op);
    // Runs a kernel on a range of its rows, with the workspace it asks for.
    void run(const Kernel& kernel, const Shape& shape, const Args& args, std::int64_t begin, std::int64_t end,
             int worker);
    std::int64_t kv_layer_block_bytes() const;
    KvView kv_view(std::int64_t layer) const;

    KernelSelector selector_;
    KernelLedger ledger_;
    const bool weights_in_place_;
    const std::shared_ptr<ThreadPool> threads_;
    ThreadPool& pool_;
    std::vector<BufferState> buffers_;
    PageArena weight_memory_;
    std::vector<WeightState> weights_;
    std::vector<PageBuffer> workspaces_;  // the kernels', one a thread
    std::vector<PageBuffer> scratches_;   // products before their epilogue, one a thread
    std::map<std::tuple<Op, Format, Layout, std::int64_t, std::int64_t, std::int64_t>, const Kernel*>
        small_kernels_;

    Routing routing_;
    std::map<Layout, PageBuffer> gathered_;  // packed rows in the order of slots

    std::vector<AdaptedRows> adapted_;  // of this step
    std::vector<LowProduct> low_products_;
    std::vector<float> low_rows_;
    std::vector<PageBuffer> gathered_inputs_;
    std::map<std::tuple<Format, std::int64_t, std::int64_t, std::int64_t>, const Kernel*> float_kernels_;

    KvSpec kv_spec_;
    std::vector<PageBuffer> kv_layers_;

    Batch batch_;
    std::vector<std::int64_t> slots_;          // cache slot of each row
    std::vector<std::int32_t> row_sequences_;  // sequence of each row
};

}  // namespace llmcore
