#include "attention_bench.h"

#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/kernels/attention.h"
#include "quant/format_table.h"
#include "quant/half.h"
#include "timing.h"

namespace llmcore::bench {

namespace {

using namespace llmcore::cuda;

constexpr std::int32_t kHeads = 32, kKvHeads = 8, kHeadDim = 128;  // Llama-3-8B's
constexpr std::int64_t kCacheBytes = INT64_C(1) << 30;             // of all layers, so that none stays in L2

template <class T>
T* on_device(const std::vector<T>& values, const Stream& stream) {
    auto* memory = static_cast<T*>(device_alloc(values.size() * sizeof(T)));
    copy_to_device(memory, values.data(), values.size() * sizeof(T), stream);
    return memory;
}

// Bytes whose 16-bit words are modest numbers in F16, of either sign; as codes they are what they are.
void fill_cache(unsigned char* cache, std::int64_t bytes, const Stream& stream) {
    std::mt19937 random(1);
    std::vector<std::uint16_t> words(1 << 22);
    for (std::uint16_t& word : words)
        word = static_cast<std::uint16_t>((random() & 0x83FF) | (0x2800 + (random() & 3) * 0x400));
    const auto part = static_cast<std::int64_t>(words.size() * sizeof words[0]);
    for (std::int64_t at = 0; at < bytes; at += part)
        copy_to_device(cache + at, words.data(), static_cast<std::size_t>(std::min(part, bytes - at)),
                       stream);
    wait_for(stream);
}

struct Case {
    Format format;
    std::int32_t batch, depth;
    bool is_prefill;  // the last kRows tokens of a sequence of `depth`
};
constexpr std::int32_t kRows = 2048;

void time_case(const Case& test, unsigned char* cache, const Stream& stream, int multiprocessors,
               double ceiling) {
    const std::int32_t rows = test.is_prefill ? kRows : test.batch;
    const std::int32_t blocks = (test.depth + kKvBlockTokens - 1) / kKvBlockTokens;
    const std::int64_t layer_bytes =
        int64_t{test.batch} * blocks * 2 * kKvHeads * kKvBlockTokens * row_bytes(test.format, kHeadDim);
    const std::int64_t layers = std::max<std::int64_t>(1, kCacheBytes / layer_bytes);
    std::vector<std::int32_t> positions, sequences, lens(static_cast<std::size_t>(test.batch), test.depth),
        table(static_cast<std::size_t>(test.batch * blocks));
    std::vector<int4> tiles;
    for (std::int32_t row = 0; row < rows; ++row) {
        positions.push_back(test.is_prefill ? test.depth - rows + row : test.depth - 1);
        sequences.push_back(test.is_prefill ? 0 : row);
        if (test.is_prefill && row % kPrefillRows == 0) tiles.push_back({0, row, kPrefillRows, 0});
    }
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(2));
    const std::vector<float> queries(static_cast<std::size_t>(rows * kHeads * kHeadDim), 0.25F);

    AttentionStepArgs args = {};
    auto* q = on_device(queries, stream);
    auto* out = on_device(queries, stream);
    auto* device_positions = on_device(positions, stream);
    auto* device_sequences = on_device(sequences, stream);
    auto* device_lens = on_device(lens, stream);
    auto* device_table = on_device(table, stream);
    auto* device_tiles = on_device(tiles, stream);
    args.q = q;
    args.out = out;
    args.q_stride = args.out_stride = kHeads * kHeadDim;
    args.step = {.tokens = nullptr,
                 .positions = device_positions,
                 .row_sequences = device_sequences,
                 .kv_lens = device_lens,
                 .block_table = device_table,
                 .logit_rows = nullptr,
                 .block_table_stride = blocks,
                 .n_rows = rows,
                 .n_sequences = test.batch,
                 .n_logit_rows = 0};
    args.kv = {cache, test.format, kKvHeads, kHeadDim};
    args.tiles = test.is_prefill ? device_tiles : nullptr;
    args.n_tiles = static_cast<std::int32_t>(tiles.size());
    args.n_rows = rows;
    args.n_heads = kHeads;
    args.multiprocessors = multiprocessors;
    args.n_splits = attention_splits(rows, kKvHeads, test.depth, multiprocessors);
    args.scale = 0.088F;
    args.causal = true;
    const std::size_t workspace_bytes =
        attention_decode_workspace_bytes(rows, kHeads, kHeadDim, args.n_splits);
    args.workspace = device_alloc(workspace_bytes);
    fill_device(args.workspace, 0, workspace_bytes, stream);
    wait_for(stream);

    const double seconds = device_seconds(stream, test.is_prefill ? 4 : 32, [&](int i) {
        args.kv.base = cache + i % layers * layer_bytes;
        test.is_prefill ? attention_prefill(stream, args) : attention_decode(stream, args);
    });
    const double read = static_cast<double>(layer_bytes);
    const double seen = test.is_prefill ? kRows * (test.depth - kRows / 2.0) : double{1} * rows * test.depth;
    std::printf(
        "{\"test\":\"attention\",\"kv\":\"%s\",\"prefill\":%d,\"batch\":%d,\"depth\":%d,\"us\":%.2f,\"gb_s\":"
        "%.0f,"
        "\"of_read\":%.3f,\"tflop_s\":%.1f}\n",
        format_info(test.format).name, test.is_prefill, test.batch, test.depth, seconds * 1e6,
        read / seconds / 1e9, read / seconds / ceiling, 4.0 * kHeads * kHeadDim * seen / seconds / 1e12);
    std::fflush(stdout);
    for (void* memory : std::vector<void*>{q, out, device_positions, device_sequences, device_lens,
                                           device_table, device_tiles, args.workspace})
        device_free(memory);
}

}  // namespace

void time_attention(const Stream& stream, int multiprocessors, double ceiling) {
    auto* cache = static_cast<unsigned char*>(device_alloc(2 * kCacheBytes));
    fill_cache(cache, 2 * kCacheBytes, stream);
    for (const Format format : {Format::F16, Format::Q8_0}) {
        for (const std::int32_t depth : {1024, 8192, 32768})
            for (const std::int32_t batch : {1, 8})
                time_case({format, batch, depth, false}, cache, stream, multiprocessors, ceiling);
        for (const std::int32_t depth : {2048, 8192})
            time_case({format, 1, depth, true}, cache, stream, multiprocessors, ceiling);
    }
    device_free(cache);
}

}  // namespace llmcore::bench
