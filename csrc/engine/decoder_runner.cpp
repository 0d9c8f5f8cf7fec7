#include "engine/decoder_runner.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "backend/loader.h"
#include "backend/memory_probe.h"
#include "backend/split_backend.h"
#include "base/error.h"
#include "engine/fingerprint.h"
#include "engine/fixed_rows_runner.h"
#include "engine/gpu_layers.h"
#include "gguf/printable.h"
#include "gguf/reader.h"
#include "model/spec.h"
#include "quant/format_table.h"

namespace llmcore {

namespace {

// Rows of a step whose logits may be asked for: the running sequences, and chunks of prompts that want every
// row.
constexpr std::int64_t kLeastLogitRows = 64;

constexpr int kMostThreads = 1024;

// Rows of a step: enough to read the weights seldom, few enough that a step, which nothing interrupts, stays
// short.
constexpr std::int64_t kMostStepTokens = 512;
constexpr std::int64_t kLeastStepTokens = 128;

std::int64_t step_tokens(const BackendInfo& backend, std::int64_t parameters) {
    if (backend.step_tokens > 0) return backend.step_tokens;
    const std::int64_t fitting = backend.step_operations / (2 * std::max<std::int64_t>(parameters, 1));
    return std::clamp(fitting / kLeastStepTokens * kLeastStepTokens, kLeastStepTokens, kMostStepTokens);
}

// Of an encoder that is opened without a context: every text has to fit a step, and room for one is set
// aside.
constexpr std::int64_t kMostUnaskedContext = 8192;

// The context asked of plan_kv, 0 for as much as fits.
std::int64_t wanted_context(const LoadOptions& options, const ModelSpec& spec) {
    if (spec.causal || options.n_ctx > 0) return options.n_ctx;
    return std::min(spec.n_ctx_train, kMostUnaskedContext);
}

// Those that take part in the computation of one token.
std::int64_t active_parameter_count(const gguf::File& file, const ModelSpec& spec) {
    std::int64_t count = 0;
    for (const gguf::TensorInfo& tensor : file.tensors()) {
        const std::int64_t size = tensor.rows() * tensor.cols();
        const bool of_experts = spec.experts.n > 0 && tensor.shape.size() == 3;
        count += of_experts ? size / spec.experts.n * spec.experts.n_used : size;
    }
    return count;
}

DecoderLimits step_limits(const LoadOptions& options, const ModelSpec& spec, const gguf::File& file,
                          const BackendInfo& backend) {
    // Deterministic mode runs few rows at a time, and takes longer for as many.
    const std::int64_t fitting = step_tokens(backend, active_parameter_count(file, spec));
    DecoderLimits limits{.max_step_tokens = options.deterministic ? kLeastStepTokens : fitting,
                         .max_logit_rows = std::max(kLeastLogitRows, options.max_batch)};
    if (!spec.causal) {
        const std::int64_t longest = std::min(wanted_context(options, spec), spec.n_ctx_train);
        limits.max_step_tokens = std::max(limits.max_step_tokens, longest);
        limits.max_logit_rows = limits.max_step_tokens;
    }
    return limits;
}

constexpr std::array kCacheFormats = {Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0};

Format kv_format(const std::string& name) {
    for (const Format format : kCacheFormats) {
        if (find_format(name) == &format_info(format)) return format;
    }
    fail(ErrorCode::invalid_argument, "engine", "kv_cache_type", name, "f32, f16, bf16, q8_0 or q4_0");
}

// A cache the backend does not have, or not for this model.
void check_cache(const Backend& backend, Format format, std::int64_t head_dim) {
    if (backend.caches(format, head_dim)) return;
    const FormatInfo& info = format_info(format);
    if (head_dim % info.block_elements != 0) {
        fail(ErrorCode::invalid_argument, "engine",
             std::string("kv_cache_type ") + info.name + " does not suit the size of the model's heads",
             std::to_string(head_dim), "a multiple of " + std::to_string(info.block_elements));
    }
    std::string suitable;
    for (const Format other : kCacheFormats) {
        if (!backend.caches(other, head_dim)) continue;
        suitable += (suitable.empty() ? "" : ", ") + std::string(format_info(other).name);
    }
    fail(ErrorCode::invalid_argument, "engine", "kv_cache_type on " + backend.info().name, info.name,
         "one of " + suitable);
}

// Before weights are uploaded: a kind of model, or a cache, that the backend does not have.
void check_suitable(const Backend& backend, const ModelSpec& spec, Format format) {
    check_cache(backend, format, spec.head_dim);
    if (spec.causal || backend.info().runs_encoders) return;
    fail(ErrorCode::model, "engine",
         "the device runs no encoders such as " + spec.architecture + "; got " + backend.info().name +
             "; expected the CPU");
}

std::string main_format(const gguf::File& file, const TensorFormats& formats) {
    std::map<Format, std::int64_t> bytes;
    for (const gguf::TensorInfo& tensor : file.tensors()) {
        const auto converted = formats.find(tensor.name);
        const Format format = converted == formats.end() ? tensor.format : converted->second;
        bytes[format] += tensor.rows() * row_bytes(format, tensor.cols());
    }
    const auto most = std::max_element(bytes.begin(), bytes.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == bytes.end() ? "" : format_info(most->first).name;
}

std::int64_t parameter_count(const gguf::File& file) {
    std::int64_t count = 0;
    for (const gguf::TensorInfo& tensor : file.tensors()) count += tensor.rows() * tensor.cols();
    return count;
}

std::int64_t kv_bytes_per_token(const ModelSpec& spec, Format format) {
    return spec.n_cache_layers() * 2 * spec.n_kv_heads() * row_bytes(format, spec.head_dim);
}

// Fewer tokens than rows are padding; a token without a row could be encoded but not run.
void check_vocabulary(const Vocabulary& vocabulary, const ModelSpec& spec) {
    if (vocabulary.size() > spec.n_vocab) {
        fail(ErrorCode::model, "engine", "number of tokenizer.ggml.tokens", std::to_string(vocabulary.size()),
             "at most " + std::to_string(spec.n_vocab) + ", the rows of token_embd.weight");
    }
}

std::string describe(const TunedKernels& tuned) {
    std::string text;
    for (const TunedChoice& choice : tuned.choices())
        for (const std::string& part : {std::string(choice.kernel->name), std::to_string(choice.m),
                                        std::to_string(choice.n), std::to_string(choice.k)})
            text += ' ' + part;
    return text;
}

std::string display_name(const ModelSpec& spec, const std::filesystem::path& path) {
    const std::string name = spec.name.empty() ? path.stem().string() : spec.name;
    return gguf::is_utf8(name) ? name : gguf::printable(name);
}

// Of a device's memory that is free once weights and buffers are there, what the cache may take: the rest is
// for what the backend allocates as it runs.
constexpr std::int64_t kDeviceKvPercent = 80;

KvPlan plan_cache(const LoadOptions& options, const ModelSpec& spec, Format format,
                  const BackendInfo& backend, const Decoder& decoder, std::int64_t gpu_layers) {
    const std::int64_t host =
        std::max<std::int64_t>(0, available_memory_bytes() - decoder.activation_bytes());
    const KvRoom rooms[] = {
        {.layers = static_cast<std::int64_t>(spec.layers.size()) - gpu_layers,
         .available_bytes = host,
         .budget_bytes = options.kv_budget_bytes > 0 ? options.kv_budget_bytes : host / 4},
        {.layers = gpu_layers,
         .available_bytes = backend.memory_bytes,
         .budget_bytes = backend.memory_bytes / 100 * kDeviceKvPercent},
    };
    const KvRoom room = room_for_all(rooms);
    return plan_kv({.format = format_info(format).name,
                    .n_ctx = wanted_context(options, spec),
                    .n_ctx_train = spec.n_ctx_train,
                    .max_batch = options.max_batch,
                    .block_tokens = backend.kv_block_tokens,
                    .bytes_per_token = kv_bytes_per_token(spec, format),
                    .available_bytes = room.available_bytes,
                    .budget_bytes = room.budget_bytes});
}

// Rows of every step in deterministic mode: few enough that decoding alone stays cheap, enough that prompts
// do not read the weights for each token. Experts see as many rows as chose them, so there it is one.
constexpr std::int64_t kDeterministicRows = 8;

std::unique_ptr<ModelRunner> fixed_rows(std::unique_ptr<ModelRunner> runner, const ModelSpec& spec) {
    return std::make_unique<FixedRowsRunner>(std::move(runner), spec.experts.n > 0 ? 1 : kDeterministicRows);
}

struct PlacedModel {
    std::unique_ptr<DecoderRunner> runner;
    std::shared_ptr<const Backend> device;
    BackendInfo backend;
    KvPlan plan;
    std::int64_t weight_bytes = 0;
    std::vector<std::shared_ptr<ServedAdapter>> adapters = {};
    std::int64_t gpu_layers = 0;
    std::string placement = {};
    bool is_split = false;
};

BackendOptions backend_options(const LoadOptions& options) {
    return {.threads = options.threads,
            .pool = options.pool,
            .weights_in_place = options.mmap,
            .tuned = options.tuned};
}

PlacedModel place_model(const std::shared_ptr<const gguf::File>& shared_file, const ModelSpec& spec,
                        const LoadOptions& options, std::shared_ptr<Backend> backend,
                        std::int64_t gpu_layers) {
    const gguf::File& file = *shared_file;
    const Format format = kv_format(options.kv_cache_type);
    check_suitable(*backend, spec, format);
    const DecoderLimits limits = step_limits(options, spec, file, backend->info());
    auto decoder =
        std::make_unique<Decoder>(file, spec, options.tensor_formats, backend, limits, options.watch);
    std::vector<std::shared_ptr<ServedAdapter>> adapters;
    for (const LoraSource& source : options.lora)
        adapters.push_back(open_adapter(source, [&](const gguf::File& adapter, float scale) {
            return decoder->make_adapter(adapter, scale);
        }));
    const BackendInfo info = backend->info();  // with the memory that is left
    const KvPlan plan = plan_cache(options, spec, format, info, *decoder, gpu_layers);
    // Deterministic mode keeps one for itself, or runs whole texts one by one.
    const std::int64_t n_blocks = plan.n_blocks + (options.deterministic && spec.causal ? 1 : 0);
    decoder->alloc_kv(format, n_blocks);
    const std::int64_t weight_bytes = decoder->weight_bytes();
    const RunnerLimits runner_limits{
        .n_vocab = spec.n_vocab,
        .d_model = spec.d_model,
        .n_ctx = plan.n_ctx,
        .kv_block_tokens = plan.block_tokens,
        .kv_blocks = n_blocks,
        .max_step_tokens = limits.max_step_tokens,
        .max_logit_rows = limits.max_logit_rows,
        .max_sequences = options.deterministic && !spec.causal ? 1 : options.max_batch,
        .encodes = !spec.causal,
        .pooling = spec.pooling};
    auto runner = std::make_unique<DecoderRunner>(backend, std::move(decoder), runner_limits,
                                                  options.mmap ? shared_file : nullptr);
    return {.runner = std::move(runner),
            .device = std::move(backend),
            .backend = info,
            .plan = plan,
            .weight_bytes = weight_bytes,
            .adapters = std::move(adapters),
            .gpu_layers = gpu_layers};
}

// Of a cache that nobody sized: what is kept free of layers for it.
constexpr std::int64_t kLeastGpuContext = 8192;

// As many layers as fit the device, measured with everything that the model would ask of it.
std::int64_t fitting_layers(const gguf::File& file, const ModelSpec& spec, const LoadOptions& options,
                            const std::shared_ptr<Backend>& device, const BackendInfo& info) {
    const auto need_of = [&](const BackendInfo& backend) {
        const auto probe = std::make_shared<MemoryProbe>(device, spec.layers.size());
        Decoder(file, spec, options.tensor_formats, probe, step_limits(options, spec, file, backend));
        return probe->need();
    };
    const std::int64_t context =
        options.n_ctx > 0 ? options.n_ctx : std::min(spec.n_ctx_train, kLeastGpuContext);
    const std::int64_t token_bytes = kv_bytes_per_token(spec, kv_format(options.kv_cache_type));
    return fitting_gpu_layers(
        {.need = need_of(info),
         .split_activation_bytes = need_of({.step_tokens = kMostStepTokens}).activations,
         .kv_layer_bytes = context * (token_bytes / spec.n_cache_layers()),
         .free_bytes = info.memory_bytes});
}

PlacedModel place_on_cpu(const std::shared_ptr<const gguf::File>& file, const ModelSpec& spec,
                         const LoadOptions& options, std::shared_ptr<Backend> cpu) {
    PlacedModel placed = place_model(file, spec, options, std::move(cpu), 0);
    placed.placement =
        describe_placement(0, static_cast<std::int64_t>(spec.layers.size()), placed.backend.name, "");
    return placed;
}

// The last layers, as many as are asked for or fit, on the device.
PlacedModel place_on_gpu(const std::shared_ptr<const gguf::File>& file, const ModelSpec& spec,
                         const LoadOptions& options, const std::shared_ptr<Backend>& device,
                         std::int64_t gpu_layers, std::string& note) {
    check_suitable(*device, spec, kv_format(options.kv_cache_type));
    const auto n_layers = static_cast<std::int64_t>(spec.layers.size());
    const BackendInfo info = device->info();
    const bool fitted = gpu_layers == kAutoGpuLayers;
    if (fitted) gpu_layers = fitting_layers(*file, spec, options, device, info);
    const std::string free = std::to_string(info.memory_bytes >> 20) + " MiB that were free";
    if (gpu_layers == n_layers) {
        PlacedModel placed = place_model(file, spec, options, device, gpu_layers);
        placed.placement = describe_placement(gpu_layers, n_layers, "", info.name);
        return placed;
    }
    const std::shared_ptr<Backend> cpu = load_backend("cpu", backend_options(options)).backend;
    if (gpu_layers == 0) {
        note = "using the CPU: no layer fits the " + free + " on " + info.name;
        return place_on_cpu(file, spec, options, cpu);
    }
    PlacedModel placed = place_model(
        file, spec, options, std::make_shared<SplitBackend>(cpu, device, n_layers - gpu_layers), gpu_layers);
    placed.is_split = true;
    placed.placement = describe_placement(gpu_layers, n_layers, cpu->info().name, info.name);
    if (fitted) placed.placement += ": as many as fit the " + free;
    return placed;
}

// As place_on_gpu on the device asked for. What "auto" cannot place on a device goes to the CPU; an error
// that is the model's comes again there.
PlacedModel place_somewhere(const std::shared_ptr<const gguf::File>& file, const ModelSpec& spec,
                            const LoadOptions& options, std::string& note) {
    const std::int64_t gpu_layers = checked_gpu_layers(parse_gpu_layers(options.gpu_layers),
                                                       static_cast<std::int64_t>(spec.layers.size()));
    if (options.device == "cpu" && gpu_layers > 0)
        fail(ErrorCode::invalid_argument, "engine", "gpu_layers on device 'cpu'", options.gpu_layers,
             "0 or auto");
    const bool passes_gpu_over = gpu_layers == 0 && (options.device == "auto" || options.device == "cuda");
    LoadedBackend loaded = load_backend(passes_gpu_over ? "cpu" : options.device, backend_options(options));
    note = std::move(loaded.note);
    if (loaded.backend->info().memory_bytes == 0) {
        if (gpu_layers > 0 && note.empty())
            note = "using the CPU: gpu_layers is " + options.gpu_layers + ", but there is no GPU here";
        return place_on_cpu(file, spec, options, std::move(loaded.backend));
    }
    try {
        return place_on_gpu(file, spec, options, loaded.backend, gpu_layers, note);
    } catch (const Error& error) {
        if (options.device != "auto") throw;
        note = std::string("using the CPU: ") + error.what();
    }
    loaded = load_backend("cpu", backend_options(options));  // and gives back the device's memory
    return place_on_cpu(file, spec, options, std::move(loaded.backend));
}

}  // namespace

DecoderRunner::DecoderRunner(std::shared_ptr<Backend> backend, std::unique_ptr<Decoder> decoder,
                             const RunnerLimits& limits, std::shared_ptr<const gguf::File> file)
    : file_(std::move(file)), backend_(std::move(backend)), decoder_(std::move(decoder)), limits_(limits) {}

LoadedModel load_model(const LoadOptions& options) {
    if (options.max_batch < 1 || options.max_batch > kLeastStepTokens) {
        fail(ErrorCode::invalid_argument, "engine", "max_batch", std::to_string(options.max_batch),
             "1 to " + std::to_string(kLeastStepTokens));
    }
    if (options.threads < 0 || options.threads > kMostThreads) {
        fail(ErrorCode::invalid_argument, "engine", "threads", std::to_string(options.threads),
             "1 to " + std::to_string(kMostThreads));
    }
    if (options.kv_budget_bytes < 0) {
        fail(ErrorCode::invalid_argument, "engine", "kv_budget", std::to_string(options.kv_budget_bytes),
             "bytes, or 0 for a quarter of the memory available");
    }
    kv_format(options.kv_cache_type);
    const auto shared_file = std::make_shared<const gguf::File>(gguf::File::open(options.path));
    const gguf::File& file = *shared_file;
    const ModelSpec spec = read_model_spec(file, options.n_ctx);
    Vocabulary vocabulary = Vocabulary::from_gguf(file);
    check_vocabulary(vocabulary, spec);
    std::string note;
    PlacedModel placed = place_somewhere(shared_file, spec, options, note);
    const std::string settings = options.build + ' ' + placed.backend.name + ' ' +
                                 format_info(kv_format(options.kv_cache_type)).name +
                                 (options.deterministic ? " deterministic" : "") + describe(options.tuned) +
                                 (placed.is_split ? " gpu layers " + std::to_string(placed.gpu_layers) : "");
    std::unique_ptr<ModelRunner> runner = std::move(placed.runner);
    // A prompt's bits may depend on where it is cut; what is cached is as good either way.
    const std::string cached = fingerprint(file, options.tensor_formats, settings);
    const std::string steps = "steps of " + std::to_string(runner->limits().max_step_tokens);
    if (options.deterministic && spec.causal) runner = fixed_rows(std::move(runner), spec);

    ModelInfo info{.name = display_name(spec, options.path),
                   .architecture = spec.architecture,
                   .quantization = main_format(file, options.tensor_formats),
                   .device = placed.backend.name,
                   .device_note = std::move(note),
                   .placement = std::move(placed.placement),
                   .kv_plan = placed.plan.describe(),
                   .kv_cache_type = placed.plan.format,
                   .draft_model = {},
                   .system_fingerprint = options.deterministic ? cached : fingerprint(cached, steps),
                   .threads = placed.backend.threads,
                   .n_vocab = spec.n_vocab,
                   .d_model = spec.d_model,
                   .n_layers = static_cast<std::int64_t>(spec.layers.size()),
                   .gpu_layers = placed.gpu_layers,
                   .n_ctx = placed.plan.n_ctx,
                   .n_ctx_train = spec.n_ctx_train,
                   .parameters = parameter_count(file),
                   .file_bytes = static_cast<std::int64_t>(file.file_bytes()),
                   .weight_bytes = placed.weight_bytes,
                   .kv_bytes = placed.plan.total_bytes(),
                   .kv_contexts = placed.plan.contexts(),
                   .generates = spec.causal,
                   .pooling = pooling_name(spec.pooling)};
    info.cache_fingerprint = cache_fingerprint(cached, spec, placed.plan.block_tokens);
    return {std::move(runner), std::move(vocabulary), std::move(info), std::move(placed.device),
            std::move(placed.adapters)};
}

}  // namespace llmcore
