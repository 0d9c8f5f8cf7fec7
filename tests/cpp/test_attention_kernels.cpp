// Every registered kv_store and attention kernel together: keys and values go through the cache that they
// share.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/cpu_features.h"
#include "harness.h"
#include "kernels/registry.h"
#include "quant/format_table.h"

namespace llmcore::test {

namespace {

struct Case {
    std::int64_t head_dim;
    std::int64_t n_heads;
    std::int64_t n_kv_heads;
    float softcap = 0.0F;
    std::int64_t window = 0;
    bool sinks = false;
    bool causal = true;
};

constexpr std::int64_t kBlockTokens = 4;

// Two sequences in one step: one that decodes at position 9, one in prefill from 3 to 7; blocks out of order.
struct Step {
    std::vector<std::int32_t> positions = {9, 3, 4, 5, 6, 7};
    std::vector<std::int32_t> sequences = {0, 1, 1, 1, 1, 1};
    std::vector<std::int32_t> kv_lens = {10, 8};
    std::vector<std::int32_t> block_table = {5, 0, 3, 2, 4, -1};
    std::int64_t stride = 3;

    std::int64_t slot(std::int32_t sequence, std::int64_t position) const {
        return block_table[static_cast<std::size_t>(sequence * stride + position / kBlockTokens)] *
                   kBlockTokens +
               position % kBlockTokens;
    }
};

const Kernel* scalar_store(Format format) {
    for (const Kernel* kernel : all_kernels())
        if (kernel->op == Op::kv_store && kernel->weight_format == format && kernel->isa == Isa::scalar)
            return kernel;
    return nullptr;
}

std::vector<float> random_floats(std::int64_t count, Random& random) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random.normal();
    return values;
}

class AttentionCheck {
public:
    AttentionCheck(const Case& shape, Format format, Random& random) : case_(shape) {
        const std::int64_t head_bytes = kBlockTokens * row_bytes(format, shape.head_dim);
        cache_.resize(static_cast<std::size_t>(6 * 2 * shape.n_kv_heads * head_bytes));
        kv_ = {.base = cache_.data(),
               .block_bytes = 2 * shape.n_kv_heads * head_bytes,
               .head_block_bytes = head_bytes,
               .block_tokens = kBlockTokens,
               .n_kv_heads = shape.n_kv_heads,
               .head_dim = shape.head_dim};
        const std::int64_t width = shape.n_kv_heads * shape.head_dim;
        for (int sequence = 0; sequence < 2; ++sequence) {
            const std::int64_t length = step_.kv_lens[static_cast<std::size_t>(sequence)];
            keys_.push_back(random_floats(length * width, random));
            values_.push_back(random_floats(length * width, random));
        }
        q_ = random_floats(static_cast<std::int64_t>(step_.positions.size()) * shape.n_heads * shape.head_dim,
                           random);
        sinks_ = random_floats(shape.n_heads, random);
    }

    void store(const Kernel& kernel) {
        const std::int64_t width = case_.n_kv_heads * case_.head_dim;
        for (int sequence = 0; sequence < 2; ++sequence) {
            const auto s = static_cast<std::size_t>(sequence);
            std::vector<std::int64_t> slots;
            for (std::int64_t position = 0; position < step_.kv_lens[s]; ++position)
                slots.push_back(step_.slot(sequence, position));
            KvStoreArgs args;
            args.k = keys_[s].data();
            args.v = values_[s].data();
            args.k_stride = width;
            args.v_stride = width;
            args.slots = slots.data();
            args.kv = kv_;
            kernel.run(&args, 0, step_.kv_lens[s], nullptr);
        }
    }

    std::vector<float> attend(const Kernel& kernel, const Shape& shape) {
        std::vector<float> out(q_.size(), NAN);
        AttentionArgs args;
        args.q = q_.data();
        args.q_stride = case_.n_heads * case_.head_dim;
        args.out = out.data();
        args.out_stride = args.q_stride;
        args.kv = kv_;
        args.block_table = step_.block_table.data();
        args.block_table_stride = step_.stride;
        args.token_sequence = step_.sequences.data();
        args.positions = step_.positions.data();
        args.n_tokens = static_cast<std::int64_t>(step_.positions.size());
        args.n_heads = case_.n_heads;
        args.scale = scale();
        args.softcap = case_.softcap;
        args.window = case_.window;
        args.sinks = case_.sinks ? sinks_.data() : nullptr;
        args.causal = case_.causal;
        args.kv_lens = step_.kv_lens.data();
        std::vector<std::uint8_t> workspace(
            kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(&shape) + 64);
        // Two ranges with an odd border, as two threads would take them.
        const std::int64_t items = args.n_tokens * case_.n_kv_heads;
        auto address = reinterpret_cast<std::uintptr_t>(workspace.data());
        void* aligned =
            workspace.empty() ? nullptr : reinterpret_cast<void*>((address + 63) & ~std::uintptr_t{63});
        kernel.run(&args, 0, items / 2, aligned);
        kernel.run(&args, items / 2, items, aligned);
        return out;
    }

    std::vector<double> expected() const {
        std::vector<double> result(q_.size());
        for (std::size_t token = 0; token < step_.positions.size(); ++token)
            for (std::int64_t head = 0; head < case_.n_heads; ++head) expect_head(token, head, result);
        return result;
    }

private:
    float scale() const { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(case_.head_dim))); }

    void expect_head(std::size_t token, std::int64_t head, std::vector<double>& result) const {
        const std::int64_t dim = case_.head_dim;
        const auto sequence = static_cast<std::size_t>(step_.sequences[token]);
        const std::int64_t kv_head = head / (case_.n_heads / case_.n_kv_heads);
        const std::int64_t width = case_.n_kv_heads * dim;
        const float* q = q_.data() + static_cast<std::int64_t>(token) * case_.n_heads * dim + head * dim;
        const std::int64_t position = step_.positions[token];
        const std::int64_t last = case_.causal ? position : step_.kv_lens[sequence] - 1;
        const std::int64_t first =
            case_.window > 0 ? std::max<std::int64_t>(0, position - case_.window + 1) : 0;
        double total =
            case_.sinks ? std::exp(static_cast<double>(sinks_[static_cast<std::size_t>(head)])) : 0.0;
        std::vector<double> sums(static_cast<std::size_t>(dim));
        for (std::int64_t p = first; p <= last; ++p) {
            double score = 0.0;
            for (std::int64_t i = 0; i < dim; ++i)
                score += static_cast<double>(q[i]) *
                         keys_[sequence][static_cast<std::size_t>(p * width + kv_head * dim + i)];
            score *= static_cast<double>(scale());
            if (case_.softcap > 0.0F) score = case_.softcap * std::tanh(score / case_.softcap);
            const double weight = std::exp(score);
            total += weight;
            for (std::int64_t i = 0; i < dim; ++i)
                sums[static_cast<std::size_t>(i)] +=
                    weight * values_[sequence][static_cast<std::size_t>(p * width + kv_head * dim + i)];
        }
        for (std::int64_t i = 0; i < dim; ++i)
            result[token * static_cast<std::size_t>(case_.n_heads * dim) +
                   static_cast<std::size_t>(head * dim + i)] = sums[static_cast<std::size_t>(i)] / total;
    }

    Case case_;
    Step step_;
    std::vector<std::uint8_t> cache_;
    KvView kv_ = {};
    std::vector<std::vector<float>> keys_, values_;
    std::vector<float> q_, sinks_;
};

const Case kCases[] = {
    {.head_dim = 64, .n_heads = 8, .n_kv_heads = 2},
    {.head_dim = 80, .n_heads = 2, .n_kv_heads = 2},
    {.head_dim = 128, .n_heads = 8, .n_kv_heads = 1},
    {.head_dim = 256, .n_heads = 2, .n_kv_heads = 1},
    {.head_dim = 8, .n_heads = 3, .n_kv_heads = 3},
    {.head_dim = 6, .n_heads = 2, .n_kv_heads = 1},
    {.head_dim = 96, .n_heads = 4, .n_kv_heads = 2, .softcap = 2.0F, .window = 3},
    {.head_dim = 64, .n_heads = 4, .n_kv_heads = 2, .sinks = true},
    {.head_dim = 64, .n_heads = 4, .n_kv_heads = 4, .causal = false},
};

}  // namespace

LLMCORE_TEST(attention_kernels_match_float64) {
    Random random(6);
    for (const Kernel* kernel : all_kernels()) {
        if (kernel->op != Op::attention || !can_run(kernel->isa, isa_ceiling())) continue;
        for (const Case& attention : kCases) {
            const Shape shape = {.m = 6,
                                 .head_dim = attention.head_dim,
                                 .n_heads = attention.n_heads,
                                 .n_kv_heads = attention.n_kv_heads};
            if (!kernel->supports(&shape)) continue;
            AttentionCheck check(attention, kernel->weight_format, random);
            check.store(*scalar_store(kernel->weight_format));
            const std::vector<float> out = check.attend(*kernel, shape);
            const double error = relative_error(out.data(), check.expected().data(), out.size());
            const double allowed = kernel->weight_format == Format::F32 ? 1e-5 : 1e-3;
            CHECK_MSG(error <= allowed,
                      kernel->name << " head_dim " << attention.head_dim << ": error " << error);
        }
    }
}

LLMCORE_TEST(kv_store_kernels_agree_with_the_reference) {
    Random random(7);
    for (const Kernel* kernel : all_kernels()) {
        if (kernel->op != Op::kv_store || !can_run(kernel->isa, isa_ceiling())) continue;
        for (const std::int64_t head_dim : {6, 8, 64, 80, 100}) {
            const std::int64_t width = 2 * head_dim;
            const std::int64_t head_bytes = kBlockTokens * row_bytes(kernel->weight_format, head_dim);
            const Shape shape = {.m = 5, .head_dim = head_dim, .n_heads = 2, .n_kv_heads = 2};
            if (!kernel->supports(&shape)) continue;
            const std::vector<float> k = random_floats(5 * width, random);
            const std::vector<float> v = random_floats(5 * width, random);
            const std::vector<std::int64_t> slots = {7, 0, 3, 4, 9};
            std::vector<std::vector<std::uint8_t>> caches;
            for (const Kernel* store : {kernel, scalar_store(kernel->weight_format)}) {
                std::vector<std::uint8_t> cache(static_cast<std::size_t>(3 * 4 * head_bytes));
                KvStoreArgs args;
                args.k = k.data();
                args.v = v.data();
                args.k_stride = width;
                args.v_stride = width;
                args.slots = slots.data();
                args.kv = {.base = cache.data(),
                           .block_bytes = 4 * head_bytes,
                           .head_block_bytes = head_bytes,
                           .block_tokens = kBlockTokens,
                           .n_kv_heads = 2,
                           .head_dim = head_dim};
                store->run(&args, 0, 5, nullptr);
                caches.push_back(std::move(cache));
            }
            CHECK_MSG(caches[0] == caches[1], kernel->name << " head_dim " << head_dim);
        }
    }
}

}  // namespace llmcore::test
