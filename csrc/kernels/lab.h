// One kernel alone, with operands of its own: to check it, and to time it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/kernel.h"

namespace llmcore {

struct LinearInput {
    std::span<const std::byte> weight;  // n rows in the kernel's format
    std::span<const float> x;           // m rows of k
    std::int64_t m, n, k;
    // The weights are there so often, and runs take one copy after another: what they read of more copies
    // than fit in the caches comes from memory.
    int copies = 1;
};

struct NormInput {
    std::span<const float> x;       // m rows of n
    std::span<const float> weight;  // n
    std::int64_t m, n;
    float eps;
};

struct LayerNormInput : NormInput {
    std::span<const float> bias;  // n, or empty
};

struct GluInput {
    std::span<const float> gate, up;  // m rows of n each; up may be empty
    std::int64_t m, n;
    Activation activation;
};

struct RopeInput {
    std::span<const float> x;  // m rows of n_heads * head_dim
    std::span<const std::int32_t> positions;
    std::span<const float> inv_freq;
    std::int64_t m, n_heads, head_dim;
    RopeStyle style;
};

// One sequence: the last n_tokens of its n_cached tokens ask.
struct AttentionInput {
    std::span<const float> q;     // n_tokens rows of n_heads * head_dim
    std::span<const float> k, v;  // n_cached rows of n_kv_heads * head_dim
    std::int64_t n_tokens, n_cached, n_heads, n_kv_heads, head_dim;
    float scale, softcap;
    std::int64_t window;
    bool causal;  // false: each sees all that is cached
};

// Operands are checked (Error(invalid_argument)) and copied.
class KernelCall {
public:
    KernelCall(KernelCall&&) = default;
    KernelCall(const KernelCall&) = delete;

    static KernelCall linear(const Kernel& kernel, const LinearInput& input);
    static KernelCall pack(const Kernel& kernel, std::span<const float> x, std::int64_t m, std::int64_t k);
    static KernelCall norm(const Kernel& kernel, const NormInput& input);
    static KernelCall layer_norm(const Kernel& kernel, const LayerNormInput& input);
    static KernelCall glu(const Kernel& kernel, const GluInput& input);
    static KernelCall rope(const Kernel& kernel, const RopeInput& input);
    // Also kv_store: writes k and v into a cache of the kernel's format.
    static KernelCall attention(const Kernel& kernel, const AttentionInput& input);
    // row_max and exp_sum over one row; the others: exp_sum's.
    static KernelCall row_blocks(const Kernel& kernel, std::span<const float> x, float max, float scale,
                                 float least);
    // `bytes` of memory for peak_read, rows of work for the others.
    static KernelCall peak(const Kernel& kernel, std::int64_t size);

    // All rows once, on the pool's threads. Some kernels (rope) work on their operand: each run goes on from
    // the last one's result.
    void run(ThreadPool& pool);
    // Seconds of each of `repeats` samples, a run's share of one; a sample is as many runs as take
    // `least_seconds`.
    std::vector<double> time(ThreadPool& pool, int repeats, double least_seconds);

    // What the kernel wrote: floats, or a packed layout's or a cache's bytes.
    std::span<const std::byte> output() const { return {output_, output_bytes_}; }
    std::int64_t rows() const { return rows_; }

private:
    explicit KernelCall(const Kernel& kernel) : kernel_(&kernel) {}

    template <class A, class Complete>
    static KernelCall row_norm(const Kernel& kernel, Op op, const NormInput& input, Complete complete);
    std::byte* hold(std::size_t bytes);
    const float* hold(std::span<const float> values);
    void write_floats(std::int64_t count);

    const Kernel* kernel_;
    Shape shape_;
    std::int64_t rows_ = 0;
    std::int64_t chunk_ = 1;
    std::vector<std::shared_ptr<const Args>> args_;  // one after another
    std::size_t next_ = 0;
    std::vector<PageBuffer> memory_;
    std::vector<PageBuffer> workspaces_;  // the kernel's, one a thread
    std::byte* output_ = nullptr;
    std::size_t output_bytes_ = 0;
};

}  // namespace llmcore
