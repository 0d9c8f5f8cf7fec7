// Layers split between the CPU and the CUDA backend, either of them first, against the CPU alone.
#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/plugin_backend.h"
#include "split_models.h"

// The CUDA backend's export, which is part of this executable.
extern "C" const llmcore::BackendTable* llmcore_backend_v1(char* reason, std::int64_t reason_bytes);

namespace llmcore::test {

namespace {

std::shared_ptr<Backend> cuda() {
    char reason[256] = {};
    const BackendTable* table = llmcore_backend_v1(reason, sizeof reason);
    CHECK_MSG(table != nullptr, reason);
    return std::make_shared<PluginBackend>(*table);
}

}  // namespace

LLMCORE_TEST(cuda_split_models_agree_with_the_cpu) {
    for (const Model& model : kSplitModels) {
        const gguf::File file = ModelImage(model).open();
        const std::vector<float> whole = mixed_logits(*decoder_over(file, cpu(Isa::scalar), Format::F32));
        const std::vector<double> expected(whole.begin(), whole.end());
        // Activations are int8 or bf16 where weights are not float32.
        const double allowed = model.format == Format::F32 ? 1e-5 : 2.5e-2;
        for (const bool cuda_first : {false, true}) {
            std::shared_ptr<Backend> front = cpu(Isa::scalar), back = cuda();
            if (cuda_first) std::swap(front, back);
            const auto decoder =
                decoder_over(file, std::make_shared<SplitBackend>(front, back, 2), Format::F32);
            const std::vector<float> logits = mixed_logits(*decoder);
            CHECK(logits.size() == expected.size());
            const double error = relative_error(logits.data(), expected.data(), expected.size());
            CHECK_MSG(error <= allowed, model.architecture << ", " << model.n_experts
                                                           << " experts, cuda first " << cuda_first
                                                           << ": error " << error);
        }
    }
}

// A text goes on in other blocks than it began in, with the same bits.
LLMCORE_TEST(cuda_blocks_are_copied_out_in_and_to_each_other) {
    const gguf::File file = ModelImage(kSplitModels[0]).open();
    for (const Format format : {Format::F16, Format::F32}) {
        const auto run = [&](bool moves) {
            const std::shared_ptr<Backend> backend = cuda();
            const auto decoder = decoder_over(file, backend, format);
            Sequence text = three_sequences(decoder->spec().n_vocab)[0];
            step(*decoder, {{&text, 40}});
            if (moves) {
                std::vector<std::byte> bytes(static_cast<std::size_t>(backend->kv_block_bytes()));
                CHECK(!bytes.empty());
                backend->copy_kv_block(text.blocks[0], 1);
                backend->read_kv_block(text.blocks[1], bytes.data());
                backend->write_kv_block(3, bytes.data());
                std::fill(bytes.begin(), bytes.end(), std::byte{0});
                for (const std::int32_t left : {text.blocks[0], text.blocks[1]})
                    backend->write_kv_block(left, bytes.data());
                text.blocks = {1, 3, 4};
            }
            step(*decoder, {{&text, 30}});
            return text.logits;
        };
        CHECK(run(true) == run(false));
    }
}

LLMCORE_TEST(cuda_backend_counts_and_writes) {
    const std::shared_ptr<Backend> backend = cuda();
    const WeightView view{.format = Format::Q4_0, .stored = Format::Q4_0, .rows = 16, .cols = 256};
    CHECK(backend->weight_bytes(view) == 16 * 256 / 32 * 18);
    const WeightView wide{.format = Format::IQ2_XXS, .stored = Format::IQ2_XXS, .rows = 16, .cols = 256};
    CHECK(backend->weight_bytes(wide) > 16 * 256);  // 8-bit codes there
    CHECK_THROWS(ErrorCode::model,
                 backend->weight_bytes({.format = Format::I8, .stored = Format::I8, .rows = 1, .cols = 32}));
    const Buffer buffer = backend->alloc(4, 3);
    backend->alloc_kv({.format = Format::F32, .n_layers = 1, .n_kv_heads = 1, .head_dim = 32, .n_blocks = 1});
    const Tokens tokens{1, 2}, positions{0, 1}, row_starts{0, 2}, kv_lens{2}, table{0};
    backend->begin({.tokens = tokens,
                    .positions = positions,
                    .row_starts = row_starts,
                    .kv_lens = kv_lens,
                    .block_table = table,
                    .block_table_stride = 1,
                    .logit_rows = {}});
    const std::vector<float> values = {1, 2, 3, 4, 5, 6};
    CHECK_THROWS(ErrorCode::internal, backend->write_rows(buffer, std::span(values).first(3)));
    backend->write_rows(buffer, values);
    const std::span<const float> read = backend->end(buffer);
    CHECK(std::vector<float>(read.begin(), read.end()) == values);
}

}  // namespace llmcore::test
