// The decoder as the engine runs it, and everything that loading a model file means.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "cache/kv_sizing.h"
#include "engine/model_runner.h"
#include "model/decoder.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

struct LoadOptions {
    std::filesystem::path path;
    std::string device = "auto";
    int threads = 0;                    // 0: one a physical core
    std::int64_t n_ctx = 0;             // 0: the model's, as far as memory allows
    std::string kv_cache_type = "f16";  // or f32, bf16, q8_0, q4_0
    std::int64_t max_batch = 32;
    std::int64_t kv_budget_bytes = 0;  // for the cache in host memory; 0: a quarter of what is available
    bool deterministic = false;    // a row's bits do not depend on what runs beside it: see FixedRowsRunner
    std::string build;             // of this program, for the fingerprint
    TensorFormats tensor_formats;  // of the tensors that are quantized as they are loaded
};

struct ModelInfo {
    std::string name;  // general.name, or the file's
    std::string architecture;
    std::string quantization;  // the format that holds most of the weights' bytes
    std::string device;
    std::string device_note;  // one line, where "auto" had to pass over a device
    std::string kv_plan;
    std::string kv_cache_type;            // the format's name
    std::string system_fingerprint;       // of weights, kernels, build and settings
    std::uint64_t cache_fingerprint = 0;  // of what decides the bytes of a KV block
    int threads = 0;
    std::int64_t n_vocab = 0;
    std::int64_t d_model = 0;
    std::int64_t n_layers = 0;
    std::int64_t n_ctx = 0;
    std::int64_t n_ctx_train = 0;
    std::int64_t parameters = 0;
    std::int64_t file_bytes = 0;
    std::int64_t weight_bytes = 0;  // in memory, as packed for the kernels
    std::int64_t kv_bytes = 0;      // at most; touched as tokens arrive
    double kv_contexts = 0;         // so many whole contexts fit the cache at once
};

class DecoderRunner final : public ModelRunner {
public:
    DecoderRunner(std::shared_ptr<Backend> backend, std::unique_ptr<Decoder> decoder,
                  const RunnerLimits& limits);

    RunnerLimits limits() const override { return limits_; }
    std::span<const float> forward(const Batch& batch) override { return decoder_->forward(batch); }
    std::span<const float> hidden_states(const Batch& batch) override {
        return decoder_->hidden_states(batch);
    }
    std::int64_t kv_block_bytes() const override { return backend_->kv_block_bytes(); }
    void read_kv_block(std::int32_t block, std::byte* to) override { backend_->read_kv_block(block, to); }
    void write_kv_block(std::int32_t block, const std::byte* from) override {
        backend_->write_kv_block(block, from);
    }

private:
    std::shared_ptr<Backend> backend_;
    std::unique_ptr<Decoder> decoder_;
    RunnerLimits limits_;
};

struct LoadedModel {
    std::unique_ptr<ModelRunner> runner;
    Vocabulary vocabulary;
    ModelInfo info;
};

// Opens, checks and uploads a model; with device "auto", to the CPU if it does not fit the device. Throws
// Error(gguf), Error(model) or Error(invalid_argument).
LoadedModel load_model(const LoadOptions& options);

}  // namespace llmcore
