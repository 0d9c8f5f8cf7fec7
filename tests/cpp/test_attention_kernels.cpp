// Every registered kv_store and attention kernel together: keys and values go through the cache that they
// share.
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>
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

    // Keys and values become what the cache holds of them.
    void read_back(Format format) {
        const std::int64_t dim = case_.head_dim;
        for (std::size_t s = 0; s < keys_.size(); ++s) {
            for (std::int64_t row = 0; row < step_.kv_lens[s] * case_.n_kv_heads; ++row) {
                const std::int64_t slot = step_.slot(static_cast<std::int32_t>(s), row / case_.n_kv_heads);
                const std::int64_t head = row % case_.n_kv_heads;
                for (int is_value = 0; is_value < 2; ++is_value) {
                    const std::int64_t from = slot / kBlockTokens * kv_.block_bytes +
                                              (is_value * case_.n_kv_heads + head) * kv_.head_block_bytes +
                                              slot % kBlockTokens * row_bytes(format, dim);
                    float* to = (is_value ? values_ : keys_)[s].data() + row * dim;
                    dequantize(format, cache_.data() + from, to, dim);
                }
            }
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
    {.head_dim = 96, .n_heads = 1, .n_kv_heads = 1},
    {.head_dim = 32, .n_heads = 17, .n_kv_heads = 1},
    {.head_dim = 64, .n_heads = 4, .n_kv_heads = 2, .sinks = true},
    {.head_dim = 64, .n_heads = 4, .n_kv_heads = 4, .causal = false},
};

// Relative error of N(0, 1) numbers in the cache. With a scale per 32, 4 bits cannot do better than 8e-2.
double stored_error(Format format) {
    switch (format) {
        case Format::F32:
            return 0;
        case Format::F16:
            return 3e-4;
        case Format::BF16:
            return 2.5e-3;
        case Format::Q8_0:
            return 6e-3;
        default:
            return 9.5e-2;
    }
}

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
            // Errors of keys and of values add up; both average out over positions like the output itself.
            const double rounding = kernel->isa == Isa::amx ? 3e-3 : 1e-5;  // AMX multiplies bf16
            const double allowed = rounding + 2 * stored_error(kernel->weight_format);
            CHECK_MSG(error <= allowed,
                      kernel->name << " head_dim " << attention.head_dim << ": error " << error);
            check.read_back(kernel->weight_format);
            const double own_error = relative_error(out.data(), check.expected().data(), out.size());
            CHECK_MSG(own_error <= rounding, kernel->name << " head_dim " << attention.head_dim << ": error "
                                                          << own_error << " beside that of the cache");
        }
    }
}

namespace {

// Five tokens of two heads in a cache of three blocks.
class StoreCheck {
public:
    StoreCheck(Format format, std::int64_t head_dim)
        : format_(format), head_dim_(head_dim), row_bytes_(row_bytes(format, head_dim)) {}

    std::vector<std::uint8_t> store(const Kernel& kernel, const std::vector<float>& k,
                                    const std::vector<float>& v) const {
        std::vector<std::uint8_t> cache(static_cast<std::size_t>(3 * 4 * kBlockTokens * row_bytes_));
        KvStoreArgs args;
        args.k = k.data();
        args.v = v.data();
        args.k_stride = 2 * head_dim_;
        args.v_stride = 2 * head_dim_;
        args.slots = slots_.data();
        args.kv = {.base = cache.data(),
                   .block_bytes = 4 * kBlockTokens * row_bytes_,
                   .head_block_bytes = kBlockTokens * row_bytes_,
                   .block_tokens = kBlockTokens,
                   .n_kv_heads = 2,
                   .head_dim = head_dim_};
        kernel.run(&args, 0, 5, nullptr);
        return cache;
    }

    // The keys (or values) that the cache holds, in the order they came.
    std::vector<float> read(const std::vector<std::uint8_t>& cache, bool is_value) const {
        std::vector<float> rows(static_cast<std::size_t>(5 * 2 * head_dim_));
        for (std::int64_t row = 0; row < 5; ++row) {
            const std::int64_t slot = slots_[static_cast<std::size_t>(row)];
            for (std::int64_t head = 0; head < 2; ++head) {
                const std::int64_t part = slot / kBlockTokens * 4 + (is_value ? 2 : 0) + head;
                const std::int64_t from = (part * kBlockTokens + slot % kBlockTokens) * row_bytes_;
                dequantize(format_, cache.data() + from, rows.data() + (row * 2 + head) * head_dim_,
                           head_dim_);
            }
        }
        return rows;
    }

private:
    Format format_;
    std::int64_t head_dim_;
    std::int64_t row_bytes_;
    std::vector<std::int64_t> slots_ = {7, 0, 3, 4, 9};
};

// Numbers that are hard to store: see below.
std::vector<float> odd_floats(std::int64_t count, Random& random) {
    std::vector<float> values = random_floats(count, random);
    const float special[] = {0.0F, -0.0F, 1e-38F, 6e-8F, 65504.0F, -7e4F, 3e38F, 1e-42F};
    for (std::size_t i = 0; i < values.size(); i += 3) values[i] = special[i / 3 % std::size(special)];
    return values;
}

std::string kernel_at(const Kernel& kernel, std::int64_t head_dim) {
    return std::string(kernel.name) + " head_dim " + std::to_string(head_dim);
}

}  // namespace

LLMCORE_TEST(kv_store_kernels_agree_with_the_reference) {
    Random random(7);
    for (const Kernel* kernel : all_kernels()) {
        if (kernel->op != Op::kv_store || !can_run(kernel->isa, isa_ceiling())) continue;
        for (const std::int64_t head_dim : {6, 8, 32, 64, 80, 96, 100}) {
            const Shape shape = {.m = 5, .head_dim = head_dim, .n_heads = 2, .n_kv_heads = 2};
            if (!kernel->supports(&shape)) continue;
            const StoreCheck check(kernel->weight_format, head_dim);
            const Kernel& reference = *scalar_store(kernel->weight_format);
            const std::vector<float> k = random_floats(5 * 2 * head_dim, random);
            const std::vector<float> v = random_floats(5 * 2 * head_dim, random);
            const std::vector<std::uint8_t> cache = check.store(*kernel, k, v);
            CHECK_MSG(cache == check.store(reference, k, v), kernel_at(*kernel, head_dim));
            for (const bool is_value : {false, true}) {
                const std::vector<float>& rows = is_value ? v : k;
                const std::vector<double> exact(rows.begin(), rows.end());
                const double error =
                    relative_error(check.read(cache, is_value).data(), exact.data(), rows.size());
                // Few numbers: as much as a tenth above what many have.
                CHECK_MSG(error <= 1.1 * stored_error(kernel->weight_format), kernel_at(*kernel, head_dim)
                                                                                  << ": error " << error);
            }
            const std::vector<float> odd_k = odd_floats(5 * 2 * head_dim, random);
            const std::vector<float> odd_v = odd_floats(5 * 2 * head_dim, random);
            CHECK_MSG(check.store(*kernel, odd_k, odd_v) == check.store(reference, odd_k, odd_v),
                      kernel_at(*kernel, head_dim) << " with odd numbers");
        }
    }
}

LLMCORE_TEST(kv_store_keeps_what_is_not_a_number_visible) {
    for (const Kernel* kernel : all_kernels()) {
        if (kernel->op != Op::kv_store || !can_run(kernel->isa, isa_ceiling())) continue;
        constexpr std::int64_t kDim = 64;
        const StoreCheck check(kernel->weight_format, kDim);
        for (const float bad : {NAN, HUGE_VALF, -HUGE_VALF}) {
            for (const std::size_t place : {std::size_t{0}, std::size_t{31}, std::size_t{50}}) {
                std::vector<float> k(5 * 2 * kDim, 1.0F);
                k[place] = bad;
                const std::vector<float> read = check.read(check.store(*kernel, k, k), false);
                CHECK_MSG(!std::isfinite(read[place]), kernel_at(*kernel, kDim) << " place " << place);
                CHECK_MSG(read[kDim] == 1.0F || std::fabs(read[kDim] - 1.0F) < 1e-2F,
                          kernel_at(*kernel, kDim) << ": its neighbour became " << read[kDim]);
            }
        }
    }
}

}  // namespace llmcore::test
