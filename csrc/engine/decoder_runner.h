// The decoder as the engine runs it, and everything that loading a model file means.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/thread_pool.h"
#include "cache/kv_sizing.h"
#include "engine/lora_shelf.h"
#include "engine/model_runner.h"
#include "gguf/reader.h"
#include "kernels/tuned_kernels.h"
#include "model/decoder.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

struct LoadOptions {
    std::filesystem::path path;
    std::string device = "auto";
    std::string gpu_layers = "auto";    // of them, on a GPU: see parse_gpu_layers
    int threads = 0;                    // 0: available_processors()
    std::int64_t n_ctx = 0;             // 0: the model's, as far as memory allows
    std::string kv_cache_type = "f16";  // or f32, bf16, q8_0, q4_0
    std::int64_t max_batch = 32;
    std::int64_t kv_budget_bytes = 0;  // for the cache in host memory; 0: a quarter of what is available
    bool deterministic = false;    // a row's bits do not depend on what runs beside it: see FixedRowsRunner
    std::string build;             // of this program, for the fingerprint
    TensorFormats tensor_formats;  // of the tensors that are quantized as they are loaded
    bool mmap = false;             // matrices stay in the file's pages, which processes share
    TunedKernels tuned = {};
    std::vector<LoraSource> lora = {};           // adapters that are to be there from the start
    std::shared_ptr<ThreadPool> pool = nullptr;  // of another model that runs in turn; null: its own
    UploadWatch watch = {};
};

struct ModelInfo {
    std::string name;  // general.name, or the file's
    std::string architecture;
    std::string quantization;  // the format that holds most of the weights' bytes
    std::string device;
    std::string device_note;  // one line, where "auto" had to pass over a device
    std::string placement;    // one line: which layers are where
    std::string kv_plan;
    std::string kv_cache_type;            // the format's name
    std::string draft_model;              // the name of the model that guesses, if there is one
    std::string system_fingerprint;       // of weights, kernels, build and settings
    std::uint64_t cache_fingerprint = 0;  // of what decides the bytes of a KV block
    int threads = 0;
    std::int64_t n_vocab = 0;
    std::int64_t d_model = 0;
    std::int64_t n_layers = 0;
    std::int64_t gpu_layers = 0;  // of those
    std::int64_t n_ctx = 0;
    std::int64_t n_ctx_train = 0;
    std::int64_t parameters = 0;
    std::int64_t file_bytes = 0;
    std::int64_t weight_bytes = 0;  // in memory, as packed for the kernels; a draft model's included
    std::int64_t kv_bytes = 0;      // at most; touched as tokens arrive; a draft model's included
    double kv_contexts = 0;         // so many whole contexts fit the cache at once
    bool generates = true;          // false: it makes embeddings alone
    std::string pooling;            // of embeddings: mean, cls or last
};

class DecoderRunner final : public ModelRunner {
public:
    // file: that the weights are in, where they stay there; otherwise null.
    DecoderRunner(std::shared_ptr<Backend> backend, std::unique_ptr<Decoder> decoder,
                  const RunnerLimits& limits, std::shared_ptr<const gguf::File> file = nullptr);

    RunnerLimits limits() const override { return limits_; }
    std::span<const float> forward(const Batch& batch) override {
        check_file();
        return decoder_->forward(batch);
    }
    LoraAdapter make_adapter(const gguf::File& file, float scale) const override {
        return decoder_->make_adapter(file, scale);
    }
    std::span<const float> hidden_states(const Batch& batch) override {
        check_file();
        return decoder_->hidden_states(batch);
    }
    std::int64_t kv_block_bytes() const override { return backend_->kv_block_bytes(); }
    void read_kv_block(std::int32_t block, std::byte* to) override { backend_->read_kv_block(block, to); }
    void write_kv_block(std::int32_t block, const std::byte* from) override {
        backend_->write_kv_block(block, from);
    }
    void copy_kv_block(std::int32_t from, std::int32_t to) override { backend_->copy_kv_block(from, to); }
    ThreadPool* threads() override { return backend_->threads(); }

private:
    // An error instead of a SIGBUS, unless the file is shortened in the very step.
    void check_file() const {
        if (file_ != nullptr) file_->check_whole();
    }

    std::shared_ptr<const gguf::File> file_;  // outlives the backend
    std::shared_ptr<Backend> backend_;
    std::unique_ptr<Decoder> decoder_;
    RunnerLimits limits_;
};

struct LoadedModel {
    std::unique_ptr<ModelRunner> runner;
    Vocabulary vocabulary;
    ModelInfo info;
    std::shared_ptr<const Backend> backend;  // of the runner, to be asked for its kernels
    std::vector<std::shared_ptr<ServedAdapter>> adapters = {};
};

// Opens, checks and uploads a model; with device "auto", to the CPU if it does not fit the device. Throws
// Error(gguf), Error(model) or Error(invalid_argument).
LoadedModel load_model(const LoadOptions& options);

}  // namespace llmcore
