// Attention of many tokens over many cached ones: every kernel against the scalar one of its cache's format,
// which test_attention_kernels.cpp holds to float64.
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "base/cpu_features.h"
#include "harness.h"
#include "kernels/registry.h"
#include "quant/format_table.h"

namespace llmcore::test {

namespace {

struct Prefill {
    std::int64_t head_dim, n_heads, n_kv_heads;
    float softcap = 0.0F;
    std::int64_t window = 0;
    bool sinks = false;
    bool causal = true;
};

constexpr std::int64_t kBlockTokens = 16;
constexpr std::int64_t kBlocks = 13;

// One sequence's tokens 37 to 141, then a token of another, then 30 of a third from its beginning.
struct Tokens {
    std::vector<std::int32_t> positions, sequences;
    std::vector<std::int32_t> kv_lens = {142, 20, 30};
    std::vector<std::int32_t> block_table = {3,  0,  11, 5,  8, 2, 1,  12, 9,  10, 4,  -1, -1, -1,
                                             -1, -1, -1, -1, 7, 6, -1, -1, -1, -1, -1, -1, -1};

    Tokens() {
        for (const auto& [sequence, begin, end] : {std::array{0, 37, 142}, {1, 19, 20}, {2, 0, 30}})
            for (int position = begin; position < end; ++position) {
                positions.push_back(position);
                sequences.push_back(sequence);
            }
    }
};

std::vector<float> attend(const Kernel& kernel, const AttentionArgs& args, const Shape& shape) {
    std::vector<float> out(static_cast<std::size_t>(args.n_tokens * args.out_stride), NAN);
    AttentionArgs own = args;
    own.out = out.data();
    const std::size_t bytes = kernel.workspace_bytes == nullptr ? 0 : kernel.workspace_bytes(&shape);
    std::vector<float> workspace(bytes / sizeof(float) + 16);
    void* start = workspace.data();
    std::size_t space = workspace.size() * sizeof(float);
    start = std::align(64, bytes, start, space);
    // Ranges as threads take them: their borders are anywhere.
    const std::int64_t items = args.n_tokens * args.kv.n_kv_heads;
    const std::int64_t cuts[] = {0, 50, 51, items / 2, items};
    for (std::size_t i = 0; i + 1 < std::size(cuts); ++i) kernel.run(&own, cuts[i], cuts[i + 1], start);
    return out;
}

}  // namespace

LLMCORE_TEST(attention_kernels_agree_on_many_tokens) {
    const Prefill cases[] = {
        {.head_dim = 64, .n_heads = 8, .n_kv_heads = 2},
        {.head_dim = 128, .n_heads = 2, .n_kv_heads = 2},
        {.head_dim = 80, .n_heads = 3, .n_kv_heads = 1, .window = 50},
        {.head_dim = 96, .n_heads = 4, .n_kv_heads = 2, .softcap = 2.0F},
        {.head_dim = 256, .n_heads = 2, .n_kv_heads = 1, .sinks = true},
        {.head_dim = 16, .n_heads = 70, .n_kv_heads = 1},
        {.head_dim = 64, .n_heads = 2, .n_kv_heads = 1, .causal = false},
    };
    Random random(12);
    const Tokens tokens;
    for (const Prefill& prefill : cases) {
        const std::int64_t head_bytes = kBlockTokens * row_bytes(Format::F16, prefill.head_dim);
        const std::int64_t block_bytes = 2 * prefill.n_kv_heads * head_bytes;
        std::vector<std::uint16_t> cache(static_cast<std::size_t>(kBlocks * block_bytes / 2));
        for (std::uint16_t& value : cache) value = float_to_half(random.normal());
        std::vector<float> q(tokens.positions.size() *
                             static_cast<std::size_t>(prefill.n_heads * prefill.head_dim));
        for (float& value : q) value = random.normal();
        std::vector<float> sinks(static_cast<std::size_t>(prefill.n_heads));
        for (float& value : sinks) value = random.normal();
        AttentionArgs args;
        args.q = q.data();
        args.q_stride = args.out_stride = prefill.n_heads * prefill.head_dim;
        args.kv = {.base = cache.data(),
                   .block_bytes = block_bytes,
                   .head_block_bytes = head_bytes,
                   .block_tokens = kBlockTokens,
                   .n_kv_heads = prefill.n_kv_heads,
                   .head_dim = prefill.head_dim};
        args.block_table = tokens.block_table.data();
        args.block_table_stride = 9;
        args.token_sequence = tokens.sequences.data();
        args.positions = tokens.positions.data();
        args.n_tokens = static_cast<std::int64_t>(tokens.positions.size());
        args.n_heads = prefill.n_heads;
        args.scale = 1.0F / std::sqrt(static_cast<float>(prefill.head_dim));
        args.softcap = prefill.softcap;
        args.window = prefill.window;
        args.sinks = prefill.sinks ? sinks.data() : nullptr;
        args.causal = prefill.causal;
        args.kv_lens = tokens.kv_lens.data();
        const Shape shape = {.m = args.n_tokens,
                             .head_dim = prefill.head_dim,
                             .n_heads = prefill.n_heads,
                             .n_kv_heads = prefill.n_kv_heads};
        const std::vector<float> reference = attend(*find_kernel("attention_f16_scalar"), args, shape);
        const std::vector<double> expected(reference.begin(), reference.end());
        for (const Kernel* kernel : all_kernels()) {
            if (kernel->op != Op::attention || kernel->weight_format != Format::F16 ||
                !can_run(kernel->isa, isa_ceiling()) || !kernel->supports(&shape))
                continue;
            const std::vector<float> out = attend(*kernel, args, shape);
            const double error = relative_error(out.data(), expected.data(), out.size());
            const double allowed = kernel->isa == Isa::amx ? 3e-3 : 1e-4;  // AMX multiplies bf16
            CHECK_MSG(error <= allowed,
                      kernel->name << " head_dim " << prefill.head_dim << ": error " << error);
        }
    }
}

}  // namespace llmcore::test
