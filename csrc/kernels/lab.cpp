#include "kernels/lab.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/activation_layout.h"
#include "kernels/peak.h"
#include "kernels/registry.h"
#include "quant/format_table.h"

namespace llmcore {
namespace {

constexpr std::int64_t kBlockTokens = 32;
constexpr std::int64_t kSizeLimit = std::int64_t{1} << 31;  // elements of any side

[[noreturn]] void refuse(const std::string& what, const std::string& got, const std::string& expected) {
    fail(ErrorCode::invalid_argument, "kernels", what, got, expected);
}

void check_op(const Kernel& kernel, Op op) {
    if (kernel.op != op) refuse(std::string("operation of ") + kernel.name, op_name(op), op_name(kernel.op));
}

void check_sides(std::initializer_list<std::int64_t> sides) {
    for (const std::int64_t side : sides) {
        if (side < 1 || side >= kSizeLimit) refuse("a side", std::to_string(side), "1 to 2^31 - 1");
    }
}

void check_size(const char* what, std::size_t got, std::int64_t expected) {
    if (got != static_cast<std::size_t>(expected))
        refuse(std::string("size of ") + what, std::to_string(got), std::to_string(expected));
}

void check_supported(const Kernel& kernel, const Shape& shape) {
    if (!kernel.supports(&shape))
        refuse(std::string("a shape for ") + kernel.name,
               "m " + std::to_string(shape.m) + ", n " + std::to_string(shape.n) + ", k " +
                   std::to_string(shape.k) + ", head_dim " + std::to_string(shape.head_dim),
               "one that it supports");
}

const Kernel& scalar_kernel(Op op, Format format, Layout out_layout) {
    for (const Kernel* kernel : all_kernels()) {
        if (kernel->op == op && kernel->weight_format == format && kernel->out_layout == out_layout &&
            kernel->isa == Isa::scalar)
            return *kernel;
    }
    fail(ErrorCode::internal, "kernels", std::string("no scalar kernel for ") + op_name(op));
}

}  // namespace

std::byte* KernelCall::hold(std::size_t bytes) { return memory_.emplace_back(bytes).data(); }

const float* KernelCall::hold(std::span<const float> values) {
    if (values.empty()) return nullptr;
    std::byte* memory = hold(values.size_bytes());
    std::memcpy(memory, values.data(), values.size_bytes());
    return reinterpret_cast<const float*>(memory);
}

void KernelCall::write_floats(std::int64_t count) {
    output_bytes_ = static_cast<std::size_t>(count) * sizeof(float);
    output_ = hold(output_bytes_);
}

KernelCall KernelCall::linear(const Kernel& kernel, const LinearInput& input) {
    check_op(kernel, Op::linear);
    check_sides({input.m, input.n, input.k, input.copies});
    const std::int64_t block = format_info(kernel.weight_format).block_elements;
    if (input.k % block != 0)
        refuse("columns", std::to_string(input.k), "a multiple of " + std::to_string(block));
    const std::int64_t weight_row_bytes = row_bytes(kernel.weight_format, input.k);
    check_size("weight in bytes", input.weight.size(), input.n * weight_row_bytes);
    check_size("x", input.x.size(), input.m * input.k);
    KernelCall call(kernel);
    call.shape_ = {.m = input.m, .n = input.n, .k = input.k};
    check_supported(kernel, call.shape_);
    call.rows_ = input.n;
    call.chunk_ = 32;
    const float* x = call.hold(input.x);
    const void* act = x;
    const std::int64_t act_row_bytes = packed_row_bytes(kernel.act_layout, input.k);
    if (kernel.act_layout != Layout::f32) {
        PackArgs pack;
        pack.x = x;
        pack.x_stride = input.k;
        pack.out = call.hold(static_cast<std::size_t>(packed_bytes(kernel.act_layout, input.m, input.k)));
        pack.out_row_bytes = act_row_bytes;
        pack.k = input.k;
        scalar_kernel(Op::pack, Format::none, kernel.act_layout).run(&pack, 0, input.m, nullptr);
        act = pack.out;
    }
    call.write_floats(input.m * input.n);
    for (int copy = 0; copy < input.copies; ++copy) {
        LinearArgs args;
        std::byte* weight = call.hold(input.weight.size());
        std::memcpy(weight, input.weight.data(), input.weight.size());
        args.weight = weight;
        args.weight_row_bytes = weight_row_bytes;
        args.act = act;
        args.act_row_bytes = act_row_bytes;
        args.out = reinterpret_cast<float*>(call.output_);
        args.out_stride = input.n;
        args.out_offset = 0;
        args.m = input.m;
        args.n = input.n;
        args.k = input.k;
        call.args_.push_back(std::make_shared<LinearArgs>(args));
    }
    return call;
}

KernelCall KernelCall::pack(const Kernel& kernel, std::span<const float> x, std::int64_t m, std::int64_t k) {
    check_op(kernel, Op::pack);
    check_sides({m, k});
    check_size("x", x.size(), m * k);
    KernelCall call(kernel);
    call.shape_ = {.m = m, .k = k};
    check_supported(kernel, call.shape_);
    call.rows_ = m;
    PackArgs args;
    args.x = call.hold(x);
    args.x_stride = k;
    args.out_row_bytes = packed_row_bytes(kernel.out_layout, k);
    args.k = k;
    call.output_bytes_ = static_cast<std::size_t>(packed_bytes(kernel.out_layout, m, k));
    args.out = call.output_ = call.hold(call.output_bytes_);
    call.args_.push_back(std::make_shared<PackArgs>(args));
    return call;
}

// args: of either norm; what only one has is filled in by `complete`.
template <class A, class Complete>
KernelCall KernelCall::row_norm(const Kernel& kernel, Op op, const NormInput& input, Complete complete) {
    check_op(kernel, op);
    check_sides({input.m, input.n});
    check_size("x", input.x.size(), input.m * input.n);
    check_size("weight", input.weight.size(), input.n);
    KernelCall call(kernel);
    call.shape_ = {.m = input.m, .n = input.n};
    check_supported(kernel, call.shape_);
    call.rows_ = input.m;
    call.write_floats(input.m * input.n);
    A args;
    args.x = call.hold(input.x);
    args.x_stride = args.out_stride = args.n = input.n;
    args.weight = call.hold(input.weight);
    args.out = reinterpret_cast<float*>(call.output_);
    args.eps = input.eps;
    complete(call, args);
    call.args_.push_back(std::make_shared<A>(args));
    return call;
}

KernelCall KernelCall::norm(const Kernel& kernel, const NormInput& input) {
    return row_norm<NormArgs>(kernel, Op::norm, input,
                              [](KernelCall&, NormArgs& args) { args.residual = nullptr; });
}

KernelCall KernelCall::layer_norm(const Kernel& kernel, const LayerNormInput& input) {
    return row_norm<LayerNormArgs>(kernel, Op::layer_norm, input, [&](KernelCall& call, LayerNormArgs& args) {
        if (!input.bias.empty()) check_size("bias", input.bias.size(), input.n);
        args.bias = call.hold(input.bias);
    });
}

KernelCall KernelCall::glu(const Kernel& kernel, const GluInput& input) {
    check_op(kernel, Op::glu);
    check_sides({input.m, input.n});
    check_size("gate", input.gate.size(), input.m * input.n);
    if (!input.up.empty()) check_size("up", input.up.size(), input.m * input.n);
    KernelCall call(kernel);
    call.shape_ = {.m = input.m, .n = input.n};
    check_supported(kernel, call.shape_);
    call.rows_ = input.m;
    call.write_floats(input.m * input.n);
    GluArgs args;
    args.gate = call.hold(input.gate);
    args.up = call.hold(input.up);
    args.gate_stride = args.up_stride = args.out_stride = args.n = input.n;
    args.out = reinterpret_cast<float*>(call.output_);
    args.activation = input.activation;
    call.args_.push_back(std::make_shared<GluArgs>(args));
    return call;
}

KernelCall KernelCall::rope(const Kernel& kernel, const RopeInput& input) {
    check_op(kernel, Op::rope);
    check_sides({input.m, input.n_heads, input.head_dim});
    const std::int64_t width = input.n_heads * input.head_dim;
    check_size("x", input.x.size(), input.m * width);
    check_size("positions", input.positions.size(), input.m);
    const auto rope_dims = static_cast<std::int64_t>(2 * input.inv_freq.size());
    if (rope_dims < 2 || rope_dims > input.head_dim)
        refuse("frequencies", std::to_string(rope_dims / 2),
               "1 to " + std::to_string(input.head_dim / 2) + ", half of the head's size");
    KernelCall call(kernel);
    call.shape_ = {.m = input.m, .head_dim = input.head_dim, .n_heads = input.n_heads};
    check_supported(kernel, call.shape_);
    call.rows_ = input.m;
    call.write_floats(input.m * width);
    std::memcpy(call.output_, input.x.data(), input.x.size_bytes());
    RopeArgs args;
    args.x = reinterpret_cast<float*>(call.output_);
    args.x_stride = width;
    std::byte* positions = call.hold(input.positions.size_bytes());
    std::memcpy(positions, input.positions.data(), input.positions.size_bytes());
    args.positions = reinterpret_cast<const std::int32_t*>(positions);
    args.inv_freq = call.hold(input.inv_freq);
    args.magnitude = 1;
    args.n_heads = input.n_heads;
    args.head_dim = input.head_dim;
    args.rope_dims = rope_dims;
    args.style = input.style;
    call.args_.push_back(std::make_shared<RopeArgs>(args));
    return call;
}

KernelCall KernelCall::attention(const Kernel& kernel, const AttentionInput& input) {
    const bool stores = kernel.op == Op::kv_store;
    if (!stores) check_op(kernel, Op::attention);
    check_sides({input.n_cached, input.n_kv_heads, input.head_dim});
    const std::int64_t kv_width = input.n_kv_heads * input.head_dim;
    check_size("k", input.k.size(), input.n_cached * kv_width);
    check_size("v", input.v.size(), input.n_cached * kv_width);
    KernelCall call(kernel);
    call.shape_ = {.m = input.n_tokens,
                   .head_dim = input.head_dim,
                   .n_heads = input.n_heads,
                   .n_kv_heads = input.n_kv_heads};
    check_supported(kernel, call.shape_);

    const std::int64_t n_blocks = (input.n_cached + kBlockTokens - 1) / kBlockTokens;
    const std::int64_t head_bytes = kBlockTokens * row_bytes(kernel.weight_format, input.head_dim);
    const std::int64_t cache_bytes = n_blocks * 2 * input.n_kv_heads * head_bytes;
    std::vector<std::int64_t> slots(static_cast<std::size_t>(input.n_cached));
    for (std::int64_t i = 0; i < input.n_cached; ++i) slots[static_cast<std::size_t>(i)] = i;
    KvStoreArgs store;
    store.k = call.hold(input.k);
    store.v = call.hold(input.v);
    store.k_stride = store.v_stride = kv_width;
    std::byte* held_slots = call.hold(slots.size() * sizeof(std::int64_t));
    std::memcpy(held_slots, slots.data(), slots.size() * sizeof(std::int64_t));
    store.slots = reinterpret_cast<const std::int64_t*>(held_slots);
    store.kv = {.base = call.hold(static_cast<std::size_t>(cache_bytes)),
                .block_bytes = 2 * input.n_kv_heads * head_bytes,
                .head_block_bytes = head_bytes,
                .block_tokens = kBlockTokens,
                .n_kv_heads = input.n_kv_heads,
                .head_dim = input.head_dim};
    if (stores) {
        call.rows_ = input.n_cached;
        call.chunk_ = 8;
        call.output_ = static_cast<std::byte*>(store.kv.base);
        call.output_bytes_ = static_cast<std::size_t>(cache_bytes);
        call.args_.push_back(std::make_shared<KvStoreArgs>(store));
        return call;
    }
    check_sides({input.n_tokens, input.n_heads});
    if (input.n_tokens > input.n_cached)
        refuse("tokens that ask", std::to_string(input.n_tokens),
               "at most " + std::to_string(input.n_cached) + ", those cached");
    const std::int64_t width = input.n_heads * input.head_dim;
    check_size("q", input.q.size(), input.n_tokens * width);
    scalar_kernel(Op::kv_store, kernel.weight_format, Layout::f32).run(&store, 0, input.n_cached, nullptr);

    // Blocks in order, all tokens of sequence 0.
    std::vector<std::int32_t> table;
    for (std::int64_t block = 0; block < n_blocks; ++block) table.push_back(static_cast<std::int32_t>(block));
    const std::size_t lens_at = table.size();
    table.push_back(static_cast<std::int32_t>(input.n_cached));
    const std::size_t positions_at = table.size();
    for (std::int64_t i = input.n_cached - input.n_tokens; i < input.n_cached; ++i)
        table.push_back(static_cast<std::int32_t>(i));
    const std::size_t sequences_at = table.size();
    table.resize(table.size() + static_cast<std::size_t>(input.n_tokens), 0);
    auto* numbers = reinterpret_cast<std::int32_t*>(call.hold(table.size() * sizeof(std::int32_t)));
    std::copy(table.begin(), table.end(), numbers);

    AttentionArgs args;
    args.q = call.hold(input.q);
    args.q_stride = args.out_stride = width;
    call.write_floats(input.n_tokens * width);
    args.out = reinterpret_cast<float*>(call.output_);
    args.kv = store.kv;
    args.block_table = numbers;
    args.block_table_stride = n_blocks;
    args.kv_lens = numbers + lens_at;
    args.positions = numbers + positions_at;
    args.token_sequence = numbers + sequences_at;
    args.n_tokens = input.n_tokens;
    args.n_heads = input.n_heads;
    args.scale = input.scale;
    args.softcap = input.softcap;
    args.window = input.window;
    args.sinks = nullptr;
    args.causal = input.causal;
    call.rows_ = input.n_tokens * input.n_kv_heads;
    call.args_.push_back(std::make_shared<AttentionArgs>(args));
    return call;
}

KernelCall KernelCall::row_blocks(const Kernel& kernel, std::span<const float> x, float max, float scale,
                                  float least) {
    if (kernel.op != Op::row_max) check_op(kernel, Op::exp_sum);
    const auto n = static_cast<std::int64_t>(x.size());
    check_sides({n});
    KernelCall call(kernel);
    call.shape_ = {.n = n};
    call.rows_ = (n + kRowBlock - 1) / kRowBlock;
    call.write_floats(call.rows_);
    RowBlocksArgs args;
    args.x = call.hold(x);
    args.n = n;
    args.max = max;
    args.scale = scale;
    args.least = least;
    args.block_max = nullptr;
    args.out = reinterpret_cast<float*>(call.output_);
    call.args_.push_back(std::make_shared<RowBlocksArgs>(args));
    return call;
}

KernelCall KernelCall::peak(const Kernel& kernel, std::int64_t size) {
    check_op(kernel, Op::peak);
    if (size < 1 || size > std::int64_t{1} << 40) refuse("size", std::to_string(size), "1 to 2^40");
    KernelCall call(kernel);
    const bool reads = std::string_view(kernel.name).find("read") != std::string_view::npos;
    call.rows_ = reads ? (size + kPeakReadBytes - 1) / kPeakReadBytes : size;
    call.shape_ = {.m = call.rows_};
    PeakArgs args;
    args.data = nullptr;
    if (reads) {
        const auto bytes = static_cast<std::size_t>(call.rows_ * kPeakReadBytes);
        auto* words = reinterpret_cast<std::int32_t*>(call.hold(bytes));
        std::fill_n(words, bytes / sizeof(std::int32_t), 1);
        args.data = reinterpret_cast<const char*>(words);
        call.chunk_ = 64;
    }
    call.write_floats(call.rows_);
    args.out = reinterpret_cast<float*>(call.output_);
    call.args_.push_back(std::make_shared<PeakArgs>(args));
    return call;
}

void KernelCall::run(ThreadPool& pool) {
    const Args* args = args_[next_].get();
    next_ = (next_ + 1) % args_.size();
    const std::size_t workspace = kernel_->workspace_bytes != nullptr ? kernel_->workspace_bytes(&shape_) : 0;
    while (workspaces_.size() < static_cast<std::size_t>(pool.size())) workspaces_.emplace_back(workspace);
    // A few chunks a thread, whole groups of rows.
    const std::int64_t share = rows_ / (8 * pool.size()) / chunk_ * chunk_;
    pool.parallel_for(rows_, std::max(share, chunk_), [&](std::int64_t begin, std::int64_t end, int worker) {
        kernel_->run(args, begin, end, workspaces_[static_cast<std::size_t>(worker)].data());
    });
}

std::vector<double> KernelCall::time(ThreadPool& pool, int repeats, double least_seconds) {
    using Clock = std::chrono::steady_clock;
    const auto measure = [&](std::int64_t runs) {
        const Clock::time_point start = Clock::now();
        for (std::int64_t i = 0; i < runs; ++i) run(pool);
        return std::chrono::duration<double>(Clock::now() - start).count();
    };
    std::int64_t runs = 1;
    for (double seconds = measure(1); seconds < least_seconds;) {
        runs *= 2;
        seconds = measure(runs);
    }
    std::vector<double> samples;
    for (int i = 0; i < repeats; ++i) samples.push_back(measure(runs) / static_cast<double>(runs));
    return samples;
}

}  // namespace llmcore
