// Engine: a loaded model with its thread. The border is crossed once a request, and once a step for all
// outputs.
#include "engine/engine.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bindings/kernel_choices.h"
#include "bindings/sampling_filters.h"
#include "engine/decoder_runner.h"
#include "engine/draft_loading.h"
#include "quant/format_table.h"

namespace py = pybind11;

namespace {

using llmcore::Backend;
using llmcore::Engine;
using llmcore::EngineConfig;
using llmcore::EngineStats;
using llmcore::ErrorCode;
using llmcore::fail;
using llmcore::FinishReason;
using llmcore::GuidedSequence;
using llmcore::GuideQuery;
using llmcore::LoraSource;
using llmcore::ModelInfo;
using llmcore::Output;
using llmcore::RequestKind;
using llmcore::RequestSpec;
using llmcore::TokenGuide;
using llmcore::TokenLogprob;
using llmcore::TokenLogprobs;

// The engine's thread may wait for a guide that waits for the interpreter's lock: it must not be held while
// the engine stops.
//
// A fork of the process has the engine's memory but none of its threads, and perhaps locks that one of them
// held: there nothing may be called, joined or freed.
struct PyEngine {
    std::unique_ptr<Engine> engine;
    ModelInfo info;
    std::shared_ptr<const Backend> backend;
    const pid_t process = getpid();

    PyEngine(std::unique_ptr<Engine> started, ModelInfo told, std::shared_ptr<const Backend> device)
        : engine(std::move(started)), info(std::move(told)), backend(std::move(device)) {}
    PyEngine(const PyEngine&) = delete;
    PyEngine& operator=(const PyEngine&) = delete;
    ~PyEngine() {
        if (forked()) {
            static_cast<void>(engine.release());
            static_cast<void>(new std::shared_ptr<const Backend>(std::move(backend)));
            return;
        }
        const py::gil_scoped_release release;
        engine.reset();
    }

    bool forked() const { return getpid() != process; }
    void check_process() const {
        if (forked())
            fail(ErrorCode::invalid_argument, "engine",
                 "the model was loaded in another process; load it after fork, or use spawn");
    }
    Engine& here() const {
        check_process();
        return *engine;
    }
};

// Grammars are Python's (llmcore.structured_output).
class PyGuide final : public TokenGuide {
public:
    explicit PyGuide(py::object callback) : callback_(std::move(callback)) {}
    ~PyGuide() override {
        const py::gil_scoped_acquire acquire;
        callback_ = py::object();
    }
    PyGuide(const PyGuide&) = delete;
    PyGuide& operator=(const PyGuide&) = delete;

    std::vector<std::string> advance(std::span<const GuideQuery> queries,
                                     std::span<const GuidedSequence> ended,
                                     std::span<std::uint32_t> masks) override {
        const py::gil_scoped_acquire acquire;
        try {
            py::list asked;
            for (const GuideQuery& q : queries) {
                asked.append(py::make_tuple(q.sequence.request, q.sequence.index, q.token));
            }
            py::list gone;
            for (const GuidedSequence& s : ended) gone.append(py::make_tuple(s.request, s.index));
            const auto address = reinterpret_cast<std::uintptr_t>(masks.data());
            return callback_(asked, gone, address, masks.size_bytes()).cast<std::vector<std::string>>();
        } catch (const py::error_already_set& error) {
            return std::vector<std::string>(queries.size(), std::string("[grammar] ") + error.what());
        } catch (const py::cast_error& error) {
            return std::vector<std::string>(queries.size(), std::string("[grammar] ") + error.what());
        }
    }

private:
    py::object callback_;
};

using LoraTuple = std::tuple<std::string, std::filesystem::path, float>;  // name, file, scale

// Ends a load on the main thread by what a signal raises there, Ctrl-C's KeyboardInterrupt for instance.
llmcore::UploadWatch signal_watch() {
    constexpr std::chrono::milliseconds kPause(50);  // taking the lock may have to wait for other threads
    return [last = std::chrono::steady_clock::now(), kPause]() mutable {
        const auto now = std::chrono::steady_clock::now();
        if (now - last < kPause) return;
        last = now;
        const py::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    };
}

std::unique_ptr<PyEngine> load(
    const std::filesystem::path& path, const std::string& device, const std::string& gpu_layers, int threads,
    std::int64_t n_ctx, const std::string& kv_cache_type, std::int64_t max_batch, std::int64_t max_queue,
    std::int64_t kv_budget, const std::map<std::string, std::string>& tensor_formats, const py::object& guide,
    bool prefix_cache, std::optional<double> max_itl_seconds, std::int64_t prompt_lookup, bool deterministic,
    bool mmap, const std::vector<llmcore::bindings::TunedTuple>& tuned, const std::vector<LoraTuple>& lora,
    const std::optional<std::filesystem::path>& draft_model, std::int64_t draft_tokens,
    std::int64_t kv_spill_ram, const std::optional<std::filesystem::path>& kv_cache_dir,
    std::int64_t kv_cache_dir_limit) {
    std::unique_ptr<TokenGuide> guided;
    if (!guide.is_none()) guided = std::make_unique<PyGuide>(guide);
    const py::gil_scoped_release release;
    llmcore::TensorFormats formats;
    for (const auto& [tensor, name] : tensor_formats) {
        const llmcore::FormatInfo* format = llmcore::find_format(name);
        if (format == nullptr)
            fail(ErrorCode::invalid_argument, "engine", "unknown format", name, "a format of GGUF tensors");
        formats.emplace(tensor, format->format);
    }
    std::vector<LoraSource> adapters;
    for (const auto& [name, file, scale] : lora) adapters.push_back({name, file, scale});
    llmcore::DraftedModel loaded = llmcore::load_drafted_model({.path = path,
                                                                .device = device,
                                                                .gpu_layers = gpu_layers,
                                                                .threads = threads,
                                                                .n_ctx = n_ctx,
                                                                .kv_cache_type = kv_cache_type,
                                                                .max_batch = max_batch,
                                                                .kv_budget_bytes = kv_budget,
                                                                .deterministic = deterministic,
                                                                .build = LLMCORE_VERSION,
                                                                .tensor_formats = std::move(formats),
                                                                .mmap = mmap,
                                                                .tuned = llmcore::bindings::read_tuned(tuned),
                                                                .lora = std::move(adapters),
                                                                .watch = signal_watch()},
                                                               draft_model.value_or(std::filesystem::path()));
    llmcore::LoadedModel& model = loaded.model;
    const EngineConfig config{.max_batch = max_batch,
                              .max_queue = max_queue,
                              .prefix_cache = prefix_cache,
                              .max_itl_seconds = max_itl_seconds,
                              .prompt_lookup = prompt_lookup,
                              .draft_tokens = draft_tokens,
                              .spill = {.ram_bytes = kv_spill_ram,
                                        .folder = kv_cache_dir.value_or(std::filesystem::path()),
                                        .folder_bytes = kv_cache_dir_limit,
                                        .model = model.info.cache_fingerprint}};
    auto engine = std::make_unique<Engine>(std::move(model.runner), std::move(model.vocabulary), config,
                                           std::move(guided), std::move(loaded.draft));
    for (auto& adapter : model.adapters) engine->adapters().add(std::move(adapter));
    return std::make_unique<PyEngine>(std::move(engine), std::move(model.info), std::move(model.backend));
}

RequestKind parse_kind(const std::string& kind) {
    if (kind == "generate") return RequestKind::generate;
    if (kind == "logits") return RequestKind::logits;
    if (kind == "embed") return RequestKind::embed;
    fail(ErrorCode::invalid_argument, "engine", "kind", kind, "generate, logits or embed");
}

std::optional<llmcore::Pooling> parse_pooling(const std::optional<std::string>& name) {
    using llmcore::Pooling;
    if (!name) return std::nullopt;
    for (const Pooling pooling : {Pooling::mean, Pooling::cls, Pooling::last})
        if (*name == llmcore::pooling_name(pooling)) return pooling;
    fail(ErrorCode::invalid_argument, "engine", "pooling", *name, "mean, cls or last");
}

std::optional<std::string> finish_name(FinishReason reason) {
    switch (reason) {
        case FinishReason::stop:
            return "stop";
        case FinishReason::length:
            return "length";
        case FinishReason::cancelled:
            return "cancelled";
        case FinishReason::error:
            return "error";
        case FinishReason::none:
            break;
    }
    return std::nullopt;
}

// The exception class of llmcore.errors that the code stands for.
const char* error_name(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid_argument:
            return "InvalidArgumentError";
        case ErrorCode::gguf:
            return "GGUFError";
        case ErrorCode::model:
            return "ModelError";
        case ErrorCode::context_length:
            return "ContextLengthError";
        case ErrorCode::queue_full:
            return "QueueFullError";
        case ErrorCode::deadline:
            return "DeadlineExceededError";
        case ErrorCode::grammar:
            return "GrammarError";
        case ErrorCode::internal:
            break;
    }
    return "LLMCoreError";
}

// (token, logprob, likeliest tokens with theirs)
using LogprobTuple = std::tuple<std::int32_t, float, std::vector<std::pair<std::int32_t, float>>>;

std::vector<LogprobTuple> logprob_tuples(const std::vector<TokenLogprobs>& entries) {
    std::vector<LogprobTuple> tuples;
    for (const TokenLogprobs& entry : entries) {
        auto& top = std::get<2>(tuples.emplace_back(entry.chosen.token, entry.chosen.logprob,
                                                    std::vector<std::pair<std::int32_t, float>>()));
        for (const TokenLogprob& t : entry.top) top.emplace_back(t.token, t.logprob);
    }
    return tuples;
}

// Moves the values out: asked for once.
py::array_t<float> take_values(Output& output) {
    auto owned = std::make_unique<std::vector<float>>(std::move(output.values));
    const float* data = owned->data();
    const auto size = static_cast<py::ssize_t>(owned->size());
    const py::capsule keeper(owned.release(), [](void* p) { delete static_cast<std::vector<float>*>(p); });
    return py::array_t<float>(size, data, keeper);
}

void bind_output(py::module_& m) {
    py::class_<Output>(m, "Output", "What one step brought for one sequence.")
        .def_readonly("request", &Output::request)
        .def_readonly("index", &Output::index)
        .def_readonly("text", &Output::text)
        .def_readonly("tokens", &Output::tokens)
        .def_property_readonly("logprobs", [](const Output& o) { return logprob_tuples(o.logprobs); })
        .def_property_readonly("prompt_logprobs",
                               [](const Output& o) -> std::optional<std::vector<LogprobTuple>> {
                                   if (!o.prompt_logprobs) return std::nullopt;
                                   return logprob_tuples(*o.prompt_logprobs);
                               })
        .def_property_readonly("finish", [](const Output& o) { return finish_name(o.finish); })
        .def_readonly("request_done", &Output::request_done)
        .def_readonly("prompt_tokens", &Output::prompt_tokens)
        .def_readonly("cached_tokens", &Output::cached_tokens)
        .def_readonly("completion_tokens", &Output::completion_tokens)
        .def_readonly("logprob_sum", &Output::logprob_sum)
        .def_readonly("queue_seconds", &Output::queue_seconds)
        .def_readonly("first_token_seconds", &Output::first_token_seconds)
        .def_readonly("total_seconds", &Output::total_seconds)
        .def("take_values", &take_values, "Logits or the embedding, flat; moved out by the first call.")
        .def_property_readonly("error_name", [](const Output& o) { return error_name(o.error_code); })
        .def_readonly("error_message", &Output::error_message);
}

void bind_model_info(py::module_& m) {
    py::class_<ModelInfo>(m, "ModelInfo", "What was loaded, and how.")
        .def_readonly("name", &ModelInfo::name)
        .def_readonly("architecture", &ModelInfo::architecture)
        .def_readonly("quantization", &ModelInfo::quantization)
        .def_readonly("device", &ModelInfo::device)
        .def_readonly("device_note", &ModelInfo::device_note)
        .def_readonly("placement", &ModelInfo::placement)
        .def_readonly("kv_plan", &ModelInfo::kv_plan)
        .def_readonly("kv_cache_type", &ModelInfo::kv_cache_type)
        .def_readonly("kv_contexts", &ModelInfo::kv_contexts)
        .def_readonly("draft_model", &ModelInfo::draft_model)
        .def_readonly("system_fingerprint", &ModelInfo::system_fingerprint)
        .def_readonly("threads", &ModelInfo::threads)
        .def_readonly("n_vocab", &ModelInfo::n_vocab)
        .def_readonly("d_model", &ModelInfo::d_model)
        .def_readonly("n_layers", &ModelInfo::n_layers)
        .def_readonly("gpu_layers", &ModelInfo::gpu_layers)
        .def_readonly("n_ctx", &ModelInfo::n_ctx)
        .def_readonly("n_ctx_train", &ModelInfo::n_ctx_train)
        .def_readonly("parameters", &ModelInfo::parameters)
        .def_readonly("file_bytes", &ModelInfo::file_bytes)
        .def_readonly("weight_bytes", &ModelInfo::weight_bytes)
        .def_readonly("kv_bytes", &ModelInfo::kv_bytes)
        .def_readonly("generates", &ModelInfo::generates)
        .def_readonly("pooling", &ModelInfo::pooling);
}

// (name, path, scale, largest rank, matrices it changes, bytes)
using AdapterTuple =
    std::tuple<std::string, std::filesystem::path, float, std::int64_t, std::int64_t, std::int64_t>;

std::vector<AdapterTuple> adapters(const PyEngine& self) {
    std::vector<AdapterTuple> told;
    const llmcore::Engine& engine = self.here();
    for (const auto& adapter : engine.adapters().all())
        told.emplace_back(adapter->source.name, adapter->source.path, adapter->source.scale,
                          adapter->lora.largest_rank, adapter->lora.n_matrices, adapter->bytes());
    return told;
}

void bind_stats(py::module_& m) {
    py::class_<EngineStats>(m, "EngineStats", "The state after the last step, and totals.")
        .def_readonly("running", &EngineStats::running)
        .def_readonly("waiting", &EngineStats::waiting)
        .def_readonly("kv_blocks_total", &EngineStats::kv_blocks_total)
        .def_readonly("kv_blocks_free", &EngineStats::kv_blocks_free)
        .def_readonly("steps", &EngineStats::steps)
        .def_readonly("requests", &EngineStats::requests)
        .def_readonly("cancelled", &EngineStats::cancelled)
        .def_readonly("failed", &EngineStats::failed)
        .def_readonly("preemptions", &EngineStats::preemptions)
        .def_readonly("kept_preemptions", &EngineStats::kept_preemptions)
        .def_property_readonly("kv_spilled_ram", [](const EngineStats& s) { return s.spill.spilled_ram; })
        .def_property_readonly("kv_restored_ram", [](const EngineStats& s) { return s.spill.restored_ram; })
        .def_property_readonly("kv_spilled_disk", [](const EngineStats& s) { return s.spill.spilled_disk; })
        .def_property_readonly("kv_restored_disk", [](const EngineStats& s) { return s.spill.restored_disk; })
        .def_readonly("prompt_tokens", &EngineStats::prompt_tokens)
        .def_readonly("cached_prompt_tokens", &EngineStats::cached_prompt_tokens)
        .def_readonly("guessed_tokens", &EngineStats::guessed_tokens)
        .def_readonly("accepted_tokens", &EngineStats::accepted_tokens)
        .def_readonly("wasted_tokens", &EngineStats::wasted_tokens)
        .def_readonly("expired", &EngineStats::expired)
        .def_readonly("generated_tokens", &EngineStats::generated_tokens)
        .def_readonly("step_seconds", &EngineStats::step_seconds)
        .def_readonly("drafted_tokens", &EngineStats::drafted_tokens)
        .def_readonly("accepted_draft_tokens", &EngineStats::accepted_draft_tokens)
        .def_readonly("draft_failures", &EngineStats::draft_failures)
        .def_readonly("draft_seconds", &EngineStats::draft_seconds);
}

void submit(PyEngine& self, std::uint64_t id, std::vector<std::int32_t> prompt, const std::string& kind,
            std::int64_t max_tokens, std::int64_t n, float temperature, std::int64_t top_k, float top_p,
            float min_p, std::optional<std::uint64_t> seed, float repetition_penalty, float frequency_penalty,
            float presence_penalty, const std::vector<std::pair<std::int32_t, float>>& logit_bias,
            std::int64_t min_tokens, bool ignore_eos, std::optional<int> logprobs,
            std::optional<int> prompt_logprobs, std::vector<std::string> stop,
            std::vector<std::int32_t> stop_token_ids, bool score, std::int64_t priority, bool guided,
            std::string tenant, std::optional<double> deadline, const py::dict& filters, std::string lora,
            const std::optional<std::string>& pooling) {
    RequestSpec spec;
    spec.id = id;
    spec.kind = parse_kind(kind);
    spec.prompt = std::move(prompt);
    spec.pooling = parse_pooling(pooling);
    spec.max_tokens = max_tokens;
    spec.n = n;
    spec.stop = std::move(stop);
    spec.stop_token_ids = std::move(stop_token_ids);
    spec.ignore_eos = ignore_eos;
    spec.prompt_logprobs = prompt_logprobs;
    spec.score = score;
    spec.priority = priority;
    spec.guided = guided;
    spec.tenant = std::move(tenant);
    spec.deadline_seconds = deadline;
    spec.lora = std::move(lora);
    spec.sampling = {.temperature = temperature,
                     .top_k = top_k,
                     .top_p = top_p,
                     .min_p = min_p,
                     .seed = seed,
                     .repetition_penalty = repetition_penalty,
                     .frequency_penalty = frequency_penalty,
                     .presence_penalty = presence_penalty,
                     .logit_bias = {},
                     .min_tokens = min_tokens,
                     .logprobs = logprobs};
    llmcore::bindings::read_filters(filters, spec.sampling);
    for (const auto& [token, bias] : logit_bias) spec.sampling.logit_bias.push_back({token, bias});
    const py::gil_scoped_release release;
    self.here().submit(std::move(spec));
}

}  // namespace

void bind_engine(py::module_& m) {
    bind_output(m);
    bind_model_info(m);
    bind_stats(m);
    py::class_<PyEngine>(m, "Engine", "A loaded model and the thread that runs it.")
        .def(py::init(&load), py::arg("path"), py::kw_only(), py::arg("device") = "auto",
             py::arg("gpu_layers") = "auto", py::arg("threads") = 0, py::arg("n_ctx") = 0,
             py::arg("kv_cache_type") = "f16", py::arg("max_batch") = EngineConfig{}.max_batch,
             py::arg("max_queue") = EngineConfig{}.max_queue, py::arg("kv_budget") = 0,
             py::arg("tensor_formats") = std::map<std::string, std::string>(), py::arg("guide") = py::none(),
             py::arg("prefix_cache") = EngineConfig{}.prefix_cache,
             py::arg("max_itl_seconds") = EngineConfig{}.max_itl_seconds, py::arg("prompt_lookup") = 0,
             py::arg("deterministic") = false, py::arg("mmap") = false,
             py::arg("tuned") = std::vector<llmcore::bindings::TunedTuple>(),
             py::arg("lora") = std::vector<LoraTuple>(), py::arg("draft_model") = py::none(),
             py::arg("draft_tokens") = EngineConfig{}.draft_tokens, py::arg("kv_spill_ram") = 0,
             py::arg("kv_cache_dir") = py::none(),
             py::arg("kv_cache_dir_limit") = llmcore::SpillOptions{}.folder_bytes,
             "tuned: (kernel, m, n, k): the fastest that was measured for such products. lora: (name, file, "
             "scale) of the adapters that are there from the start.")
        .def("submit", &submit, py::arg("id"), py::arg("prompt"), py::kw_only(), py::arg("kind") = "generate",
             py::arg("max_tokens") = 128, py::arg("n") = 1, py::arg("temperature") = 1.0F,
             py::arg("top_k") = 0, py::arg("top_p") = 1.0F, py::arg("min_p") = 0.0F,
             py::arg("seed") = py::none(), py::arg("repetition_penalty") = 1.0F,
             py::arg("frequency_penalty") = 0.0F, py::arg("presence_penalty") = 0.0F,
             py::arg("logit_bias") = py::list(), py::arg("min_tokens") = 0, py::arg("ignore_eos") = false,
             py::arg("logprobs") = py::none(), py::arg("prompt_logprobs") = py::none(),
             py::arg("stop") = py::list(), py::arg("stop_token_ids") = py::list(), py::arg("score") = false,
             py::arg("priority") = 0, py::arg("guided") = false, py::arg("tenant") = "",
             py::arg("deadline") = py::none(), py::arg("filters") = py::dict(), py::arg("lora") = "",
             py::arg("pooling") = py::none(),
             "lora: the name of an adapter, or none. filters: of typical_p, top_n_sigma, xtc_*, mirostat*, "
             "dry_*, those that are on. pooling: of kind embed, mean, cls or last; None for the model's own.")
        .def(
            "abort",
            [](PyEngine& self, std::uint64_t id) {
                if (!self.forked()) self.engine->abort(id);
            },
            py::arg("id"))
        .def(
            "load_adapter",
            [](PyEngine& self, const std::string& name, const std::filesystem::path& path, float scale) {
                self.here().load_adapter({name, path, scale});
            },
            py::arg("name"), py::arg("path"), py::arg("scale") = 1.0F,
            py::call_guard<py::gil_scoped_release>())
        .def(
            "unload_adapter",
            [](PyEngine& self, const std::string& name) { self.here().adapters().remove(name); },
            py::arg("name"), py::call_guard<py::gil_scoped_release>(),
            "Requests that run keep it to their end.")
        .def("adapters", &adapters, "Name, path, scale, largest rank, matrices and bytes of each.")
        .def_property_readonly(
            "fd", [](PyEngine& self) { return self.here().outputs().fd(); },
            "Readable while outputs are queued.")
        .def(
            "drain", [](PyEngine& self) { return self.here().outputs().drain(); },
            "All queued outputs; never waits.")
        .def(
            "wait",
            [](PyEngine& self, double seconds) {
                const py::gil_scoped_release release;
                return self.here().outputs().wait(seconds);
            },
            py::arg("seconds"), "As drain, but waits for outputs first, that long at most.")
        .def("stats", [](const PyEngine& self) { return self.here().stats(); })
        .def(
            "new_warning", [](PyEngine& self) { return self.here().new_warning(); },
            "What the operator should know of the tiers below the KV cache, told once; otherwise empty.")
        .def_readonly("info", &PyEngine::info)
        .def_property_readonly("forked", &PyEngine::forked,
                               "Whether this process is a fork of the one that has the engine's thread: then "
                               "abort and close do nothing, and what needs the engine raises.")
        .def(
            "kernel_uses",
            [](const PyEngine& self) {
                self.check_process();
                return llmcore::bindings::kernel_uses(*self.backend);
            },
            "What has run so far, with the kernel it gets for each number of rows: dicts of op, format, n, "
            "k, head_dim, rows (first, last; last 0: any), kernel, reason and ran.")
        .def(
            "close",
            [](PyEngine& self) {
                if (!self.forked()) self.engine->stop();
            },
            py::call_guard<py::gil_scoped_release>(),
            "Ends every request as cancelled and joins the thread; queued outputs stay.");
}
