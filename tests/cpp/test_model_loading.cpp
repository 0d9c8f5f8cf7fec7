// A whole model from a file in memory to logits: however the tokens of several sequences are cut into steps,
// each sequence gets the logits that it gets alone. Meant for sanitizer builds as well.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "backend/cpu_backend.h"
#include "base/cpu_features.h"
#include "harness.h"
#include "model/decoder.h"
#include "model_image.h"
#include "model_steps.h"
#include "scratch_folder.h"

namespace {

using llmcore::Batch;
using llmcore::CpuBackend;
using llmcore::Decoder;
using llmcore::DecoderLimits;
using llmcore::ErrorCode;
using llmcore::Format;
using llmcore::Isa;
using llmcore::KernelSelector;
using llmcore::gguf::File;
using llmcore::test::Model;
using llmcore::test::ModelImage;
using llmcore::test::ScratchFolder;
using llmcore::test::Sequence;
using llmcore::test::step;
using llmcore::test::three_sequences;
using llmcore::test::Tokens;

constexpr std::int64_t kBlocks = 16;
constexpr std::int64_t kStepTokens = 128;

// Sizes that fill vectors, and sizes that leave ends.
const Model kLlama = {"llama", 64, 2, 4, 2, 16, 96, 50, Format::Q8_0};
const Model kRagged = {"llama", 27, 2, 6, 3, 10, 35, 41, Format::F32};
const Model kQwen2 = {"qwen2", 48, 2, 3, 1, 18, 33, 37, Format::F16, true, false};

std::unique_ptr<Decoder> load(const File& file, Isa isa, Format kv_format, bool in_place = false) {
    auto backend = std::make_shared<CpuBackend>(KernelSelector(isa, ""),
                                                std::make_shared<llmcore::ThreadPool>(3), in_place);
    auto decoder = std::make_unique<Decoder>(
        file, llmcore::read_model_spec(file, 0), llmcore::TensorFormats(), std::move(backend),
        DecoderLimits{.max_step_tokens = kStepTokens, .max_logit_rows = kStepTokens});
    decoder->alloc_kv(kv_format, kBlocks);
    return decoder;
}

class TemporaryFile {
public:
    explicit TemporaryFile(const std::vector<std::byte>& bytes) {
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    const std::filesystem::path& path() const { return path_; }

private:
    ScratchFolder folder_;
    std::filesystem::path path_ = folder_.path() / "model.gguf";
};

std::vector<float> alone(Decoder& decoder, const Sequence& like, std::size_t chunk) {
    Sequence sequence{.tokens = like.tokens, .blocks = {0, 1, 2}, .cached = 0, .logits = {}};
    while (sequence.cached < sequence.tokens.size())
        step(decoder, {{&sequence, std::min(chunk, sequence.tokens.size() - sequence.cached)}});
    return sequence.logits;
}

void check_same(const std::vector<float>& got, const std::vector<float>& expected, double tolerance,
                const std::string& what) {
    const std::vector<double> wanted(expected.begin(), expected.end());
    CHECK(got.size() == expected.size());
    CHECK(std::all_of(got.begin(), got.end(), [](float x) { return std::isfinite(x); }));
    const double error = llmcore::test::relative_error(got.data(), wanted.data(), wanted.size());
    CHECK_MSG(error <= tolerance, what << ": relative error " << error);
}

void check_cuts(const Model& model, Format kv_format) {
    const File file = ModelImage(model).open();
    for (const Isa isa : {Isa::scalar, llmcore::isa_ceiling()}) {
        // Requantized activations may round the other way after sums in another order, and AMX multiplies
        // many tokens in bf16, one in int8 or float.
        const double tolerance = isa == Isa::amx                ? 2.5e-2
                                 : model.format == Format::Q8_0 ? 1e-2
                                 : kv_format == Format::F16     ? 1e-3
                                                                : 1e-5;
        const std::string what = model.architecture + " on " + llmcore::isa_name(isa);
        const std::unique_ptr<Decoder> decoder = load(file, isa, kv_format);
        std::vector<Sequence> mixed = three_sequences(model.n_vocab);
        std::vector<std::vector<float>> expected;
        for (const Sequence& sequence : mixed) {
            expected.push_back(alone(*decoder, sequence, 1));
            check_same(alone(*decoder, sequence, sequence.tokens.size()), expected.back(), tolerance,
                       what + ", prefill");
        }
        // Prefill in chunks across block boundaries beside sequences that decode, in changing order.
        Sequence &a = mixed[0], &b = mixed[1], &c = mixed[2];
        step(*decoder, {{&a, 31}, {&c, 5}});
        step(*decoder, {{&c, 1}, {&b, 30}, {&a, 2}});
        step(*decoder, {{&b, 1}, {&a, 1}});
        step(*decoder, {{&a, 35}, {&b, 1}});
        step(*decoder, {{&b, 1}, {&a, 1}});
        for (std::size_t i = 0; i < 3; ++i)
            check_same(mixed[i].logits, expected[i], tolerance, what + ", sequence " + std::to_string(i));
    }
}

}  // namespace

LLMCORE_TEST(model_llama_steps_cut_anywhere) {
    check_cuts(kLlama, Format::F16);
    check_cuts(kRagged, Format::F32);
}

LLMCORE_TEST(model_qwen2_steps_cut_anywhere) {
    check_cuts(kQwen2, Format::F16);
    check_cuts(kQwen2, Format::F32);
}

LLMCORE_TEST(model_weights_copied_read_or_left_in_place_are_the_same) {
    for (const Model& model : {kLlama, kRagged, kQwen2}) {
        const ModelImage image(model);
        const TemporaryFile on_disk(image.bytes());
        const File memory = image.open();
        const File file = File::open(on_disk.path());
        CHECK(memory.reader(0) == nullptr && file.reader(0) != nullptr);
        const Sequence sequence = three_sequences(model.n_vocab)[1];
        const Isa isa = llmcore::isa_ceiling();
        const std::vector<float> copied = alone(*load(memory, isa, Format::F16), sequence, 7);
        CHECK(alone(*load(file, isa, Format::F16), sequence, 7) == copied);
        CHECK(alone(*load(file, isa, Format::F16, true), sequence, 7) == copied);
    }
}

LLMCORE_TEST(model_files_that_are_shortened_are_noticed) {
    const TemporaryFile on_disk(ModelImage(kLlama).bytes());
    const File file = File::open(on_disk.path());
    file.check_whole();
    // The last page stays: bytes behind a file's end can be touched up to there.
    std::filesystem::resize_file(on_disk.path(), std::filesystem::file_size(on_disk.path()) - 64);
    CHECK_THROWS(ErrorCode::gguf, file.check_whole());
    CHECK_THROWS(ErrorCode::gguf, load(file, Isa::scalar, Format::F16));
    ModelImage(kLlama).open().check_whole();
}

// What a file's logits may differ by when kernels round: ARCHITECTURE.md, "Numbers the tests hold".
LLMCORE_TEST(model_logits_of_many_tokens_agree_with_the_reference) {
    for (const Model& model : {kLlama, kQwen2, kRagged}) {
        const File file = ModelImage(model).open();
        const Sequence prompt = three_sequences(model.n_vocab)[0];
        const auto logits = [&](Isa isa) {
            return alone(*load(file, isa, Format::F32), prompt, prompt.tokens.size());
        };
        const std::vector<float> expected = logits(Isa::scalar);
        for (const Isa isa : llmcore::runnable_isas())
            if (isa != Isa::scalar && llmcore::can_run(isa, llmcore::isa_ceiling()))
                check_same(logits(isa), expected, 2.5e-2,
                           model.architecture + " on " + llmcore::isa_name(isa));
    }
}

LLMCORE_TEST(model_hidden_states_and_empty_heads) {
    const File file = ModelImage(kQwen2).open();
    const std::unique_ptr<Decoder> decoder = load(file, llmcore::isa_ceiling(), Format::F32);
    const Tokens tokens{1, 2, 3}, positions{0, 1, 2}, row_starts{0, 3}, kv_lens{3}, table{4}, rows{0, 2};
    Batch batch{.tokens = tokens,
                .positions = positions,
                .row_starts = row_starts,
                .kv_lens = kv_lens,
                .block_table = table,
                .block_table_stride = 1,
                .logit_rows = rows};
    CHECK(decoder->hidden_states(batch).size() == 2 * static_cast<std::size_t>(kQwen2.d_model));
    batch.logit_rows = {};
    CHECK(decoder->forward(batch).empty());
}

LLMCORE_TEST(model_refuses_batches_beyond_its_limits) {
    const File file = ModelImage(kRagged).open();
    const std::unique_ptr<Decoder> decoder = load(file, Isa::scalar, Format::F16);
    const Tokens positions{0}, row_starts{0, 1}, kv_lens{1}, table{0};
    Batch batch{.tokens = {},
                .positions = positions,
                .row_starts = row_starts,
                .kv_lens = kv_lens,
                .block_table = table,
                .block_table_stride = 1,
                .logit_rows = {}};
    CHECK_THROWS(ErrorCode::invalid_argument, decoder->forward(batch));
    for (const std::int32_t token : {-1, static_cast<std::int32_t>(kRagged.n_vocab), INT32_MAX}) {
        const Tokens tokens{token};
        batch.tokens = tokens;
        CHECK_THROWS(ErrorCode::invalid_argument, decoder->forward(batch));
    }
    const Tokens many(kStepTokens + 1, 0);
    batch.tokens = many;
    CHECK_THROWS(ErrorCode::invalid_argument, decoder->forward(batch));
}

LLMCORE_TEST(model_refuses_tensors_it_does_not_know) {
    const auto load_with = [](ModelImage& image) {
        const File file = image.open();
        load(file, Isa::scalar, Format::F16);
    };
    ModelImage sound(kRagged), extra(kRagged), long_bias(kRagged);
    load_with(sound);
    CHECK_THROWS(ErrorCode::model, load_with(extra.vector("blk.7.attn_norm.weight", 27, 1.0F)));
    CHECK_THROWS(ErrorCode::model, load_with(long_bias.vector("blk.0.attn_q.bias", 61, 0.0F)));
    Model taller = kRagged;
    taller.n_heads = 7;  // no multiple of the key-value heads
    ModelImage uneven(taller);
    CHECK_THROWS(ErrorCode::model, load_with(uneven));
}
