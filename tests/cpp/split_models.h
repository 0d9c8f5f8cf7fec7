// Models that are split in tests: of each kind of layer one, and an encoder.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "backend/cpu_backend.h"
#include "backend/split_backend.h"
#include "model/decoder.h"
#include "model_image.h"
#include "model_steps.h"

namespace llmcore::test {

inline const Model kSplitModels[] = {
    {"llama", 64, 3, 4, 2, 16, 96, 50, Format::Q8_0},
    {"qwen2", 48, 3, 3, 1, 18, 33, 37, Format::F16, true, false},
    {"llama", 32, 3, 4, 2, 8, 40, 41, Format::F32, false, true, 4},
    {"gemma2", 64, 4, 4, 1, 32, 96, 50, Format::F16, false, false, 0, true},
};

inline gguf::File encoder_file() {
    constexpr std::int64_t kWidth = 32, kFeedForward = 48;
    const Model model{"bert", kWidth, 3, 4, 4, 8, kFeedForward, 40, Format::F32};
    Random random(3);
    GgufImage image;
    const auto number = [&](const char* name, std::int64_t value) {
        image.scalar("bert." + std::string(name), gguf::ValueType::i64, value);
    };
    const auto vector = [&](const std::string& name, std::int64_t size, float middle) {
        image.tensor(name, {static_cast<std::uint64_t>(size)}, Format::F32, vector_of(size, middle, random));
    };
    const auto matrix = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
        image.tensor(name, {static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(rows)}, Format::F32,
                     matrix_of(Format::F32, rows, cols, random));
    };
    const auto linear = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
        matrix(name + ".weight", rows, cols);
        vector(name + ".bias", rows, 0.0F);
    };
    const auto norm = [&](const std::string& name) {
        vector(name + ".weight", kWidth, 1.0F);
        vector(name + ".bias", kWidth, 0.0F);
    };
    image.string("general.architecture", "bert");
    number("embedding_length", kWidth);
    number("context_length", 64);
    number("block_count", model.n_layers);
    number("attention.head_count", model.n_heads);
    number("feed_forward_length", kFeedForward);
    matrix("token_embd.weight", model.n_vocab, kWidth);
    matrix("position_embd.weight", 64, kWidth);
    matrix("token_types.weight", 2, kWidth);
    norm("token_embd_norm");
    for (std::int64_t layer = 0; layer < model.n_layers; ++layer) {
        const std::string prefix = "blk." + std::to_string(layer) + ".";
        for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
            linear(prefix + name, kWidth, kWidth);
        linear(prefix + "ffn_up", kFeedForward, kWidth);
        linear(prefix + "ffn_down", kWidth, kFeedForward);
        norm(prefix + "attn_output_norm");
        norm(prefix + "layer_output_norm");
    }
    return gguf::File::from_bytes(image.build());
}

inline std::shared_ptr<Backend> cpu(Isa isa) {
    return std::make_shared<CpuBackend>(KernelSelector(isa, ""), std::make_shared<ThreadPool>(2));
}

inline std::unique_ptr<Decoder> decoder_over(const gguf::File& file, std::shared_ptr<Backend> backend,
                                             Format kv_format, std::int64_t n_blocks = 16) {
    auto decoder =
        std::make_unique<Decoder>(file, read_model_spec(file, 0), TensorFormats(), std::move(backend),
                                  DecoderLimits{.max_step_tokens = 128, .max_logit_rows = 128});
    decoder->alloc_kv(kv_format, n_blocks);
    return decoder;
}

// The logits of three sequences: prefill in chunks over borders of blocks, beside sequences that decode.
inline std::vector<float> mixed_logits(Decoder& decoder) {
    std::vector<Sequence> sequences = three_sequences(decoder.spec().n_vocab);
    Sequence &a = sequences[0], &b = sequences[1], &c = sequences[2];
    step(decoder, {{&a, 31}, {&c, 5}});
    step(decoder, {{&c, 1}, {&b, 30}, {&a, 2}});
    for (int i = 0; i < 3; ++i) step(decoder, {{&b, 1}, {&a, 1}});
    step(decoder, {{&a, 34}});
    std::vector<float> logits;
    for (const Sequence& sequence : sequences)
        logits.insert(logits.end(), sequence.logits.begin(), sequence.logits.end());
    return logits;
}

}  // namespace llmcore::test
