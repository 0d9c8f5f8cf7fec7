#include "engine/draft_loading.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/cpu_features.h"
#include "base/error.h"
#include "engine/drafter.h"
#include "gguf/reader.h"
#include "model/spec.h"

namespace llmcore {

namespace {

struct Header {
    ModelSpec spec;
    Vocabulary vocabulary;

    // What a cached token takes, up to the bytes of a number.
    double token_size() const {
        return static_cast<double>(spec.layers.size()) * static_cast<double>(spec.n_kv_heads()) *
               static_cast<double>(spec.head_dim);
    }
};

Header read_header(const std::filesystem::path& path) {
    const gguf::File file = gguf::File::open(path);
    return {read_model_spec(file, 0), Vocabulary::from_gguf(file)};
}

[[noreturn]] void rethrow_for_draft(const Error& error) {
    throw Error(error.code(), std::string("[engine] the draft model cannot be loaded: ") + error.what());
}

Header read_draft_header(const std::filesystem::path& path) {
    try {
        return read_header(path);
    } catch (const Error& error) {
        rethrow_for_draft(error);
    }
}

LoadedModel load_draft(const LoadOptions& options) {
    try {
        return load_model(options);
    } catch (const Error& error) {
        rethrow_for_draft(error);
    }
}

}  // namespace

DraftedModel load_drafted_model(LoadOptions options, const std::filesystem::path& draft) {
    if (draft.empty()) return {load_model(options), nullptr};
    const Header small = read_draft_header(draft);
    double share = 0.0;
    {
        const Header large = read_header(options.path);
        check_same_tokens(large.vocabulary, small.vocabulary);
        share = small.token_size() / (small.token_size() + large.token_size());
    }
    // A number of threads that is out of range is for load_model to refuse.
    const int threads = std::clamp(options.threads, 0, 1024);
    if (options.pool == nullptr) {
        options.pool = std::make_shared<ThreadPool>(threads > 0 ? threads : available_processors());
    }
    const std::int64_t budget =
        options.kv_budget_bytes != 0 ? options.kv_budget_bytes : available_memory_bytes() / 4;
    const auto draft_budget = static_cast<std::int64_t>(static_cast<double>(budget) * share);
    options.kv_budget_bytes =
        options.kv_budget_bytes < 0 ? budget : std::max<std::int64_t>(1, budget - draft_budget);
    LoadedModel model = load_model(options);

    LoadOptions draft_options{.path = draft,
                              .device = model.info.device == "cpu" ? "cpu" : options.device,
                              .threads = options.threads,
                              .n_ctx = std::min(model.info.n_ctx, small.spec.n_ctx_train),
                              .kv_cache_type = options.kv_cache_type,
                              .max_batch = options.max_batch,
                              .kv_budget_bytes = std::max<std::int64_t>(1, draft_budget),
                              .deterministic = false,
                              .build = options.build,
                              .tensor_formats = {},
                              .mmap = options.mmap,
                              .tuned = options.tuned,
                              .pool = options.pool,
                              .watch = options.watch};
    LoadedModel guessing = load_draft(draft_options);
    model.info.draft_model = guessing.info.name;
    model.info.weight_bytes += guessing.info.weight_bytes;
    model.info.kv_bytes += guessing.info.kv_bytes;
    model.info.kv_plan += "; draft model " + guessing.info.name + ": " + guessing.info.kv_plan;
    return {std::move(model), std::move(guessing.runner)};
}

}  // namespace llmcore
