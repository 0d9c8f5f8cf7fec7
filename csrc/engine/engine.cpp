#include "engine/engine.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "base/error.h"

namespace llmcore {

namespace {

// Of a block, what is shared of its beginning: it saves half as much on average as it could, at the cost of
// so many more names.
constexpr std::int64_t kPartsOfBlock = 4;

SchedulerConfig scheduler_config(const ModelRunner& runner, const EngineConfig& config) {
    const RunnerLimits limits = runner.limits();
    const bool in_parts = runner.kv_block_bytes() > 0 && limits.kv_block_tokens % kPartsOfBlock == 0;
    const std::int64_t mixed = std::max(SchedulerConfig{}.mixed_prompt_tokens, limits.max_step_tokens / 2);
    return {.n_ctx = limits.n_ctx,
            .block_tokens = limits.kv_block_tokens,
            .part_tokens = in_parts ? limits.kv_block_tokens / kPartsOfBlock : 0,
            .n_blocks = limits.kv_blocks,
            .max_batch = std::min(config.max_batch, limits.max_sequences),
            .max_step_tokens = limits.max_step_tokens,
            .max_logit_rows = limits.max_logit_rows,
            .mixed_prompt_tokens = mixed,
            .reuses_prefixes = config.prefix_cache,
            .whole_prompts = limits.encodes};
}

// So long the end of an engine may take to save what is cached.
constexpr auto kSaving = std::chrono::seconds(10);

std::unique_ptr<SpilledBlocks> spilled_blocks(ModelRunner& runner, const EngineConfig& config) {
    if (!config.spill.wanted()) return nullptr;
    BlockCopier copier{
        .block_bytes = runner.kv_block_bytes(),
        .read = [&runner](std::int32_t block, std::byte* to) { runner.read_kv_block(block, to); },
        .write = [&runner](std::int32_t block,
                           const std::byte* from) { runner.write_kv_block(block, from); }};
    return std::make_unique<SpilledBlocks>(std::move(copier), runner.limits().kv_block_tokens, config.spill);
}

}  // namespace

Engine::Engine(std::unique_ptr<ModelRunner> runner, Vocabulary vocabulary, const EngineConfig& config,
               std::unique_ptr<TokenGuide> guide, std::unique_ptr<ModelRunner> draft)
    : runner_(std::move(runner)),
      vocabulary_(std::move(vocabulary)),
      limits_(runner_->limits()),
      config_(config),
      scheduler_config_(scheduler_config(*runner_, config)),
      guides_(guide != nullptr),
      spilled_(spilled_blocks(*runner_, config)),
      stepper_(*runner_, vocabulary_, scheduler_config_,
               {.mixed_step_seconds = config.max_itl_seconds,
                .guesses = config.prompt_lookup,
                .draft_tokens = config.draft_tokens,
                .draft_adapts = config.draft_adapts,
                .spilled = spilled_.get()},
               std::move(guide), std::move(draft)),
      stats_(stepper_.stats()),
      thread_([this] { loop(); }) {}

Engine::~Engine() { stop(); }

void Engine::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void Engine::load_adapter(const LoraSource& source) {
    adapters_.check_new(source.name);
    adapters_.add(open_adapter(
        source, [this](const gguf::File& file, float scale) { return runner_->make_adapter(file, scale); }));
}

void Engine::submit(RequestSpec spec) {
    if (limits_.encodes && spec.kind != RequestKind::embed) {
        fail(ErrorCode::invalid_argument, "engine", "the model makes embeddings and generates no text");
    }
    check_request(spec, scheduler_config_, limits_.n_vocab);
    if (spec.guided && (!guides_ || spec.kind != RequestKind::generate)) {
        fail(ErrorCode::invalid_argument, "engine", "no grammars here");
    }
    if (!spec.lora.empty()) spec.adapter = adapters_.find(spec.lora);
    const auto now = Stepper::Clock::now();
    {
        const std::lock_guard lock(mutex_);
        if (stopping_) fail(ErrorCode::invalid_argument, "engine", "the engine is closed");
        if (live_.contains(spec.id)) {
            fail(ErrorCode::invalid_argument, "engine", "request id in use", std::to_string(spec.id),
                 "a new one");
        }
        const std::int64_t queued = pending_ + stats_.waiting;
        if (queued > 0 && queued + spec.n > config_.max_queue) {
            fail(ErrorCode::queue_full, "engine", "the queue is full", std::to_string(queued) + " waiting",
                 "at most " + std::to_string(config_.max_queue));
        }
        live_.insert(spec.id);
        pending_ += spec.n;
        commands_.emplace_back(Submission{std::move(spec), now});
    }
    work_.notify_one();
}

void Engine::abort(std::uint64_t request) {
    {
        const std::lock_guard lock(mutex_);
        if (!live_.contains(request)) return;
        commands_.emplace_back(Abort{request});
    }
    work_.notify_one();
}

EngineStats Engine::stats() const {
    const std::lock_guard lock(mutex_);
    EngineStats stats = stats_;
    stats.waiting += pending_;
    return stats;
}

std::string Engine::new_warning() {
    if (!spilled_) return {};
    std::string warning = spilled_->warning();
    const std::lock_guard lock(mutex_);
    if (warning == told_warning_) return {};
    told_warning_ = warning;
    return warning;
}

// False once the engine is to stop.
bool Engine::wait_for_commands(std::vector<Command>& commands) {
    std::unique_lock lock(mutex_);
    work_.wait(lock, [this] { return stopping_ || !commands_.empty() || stepper_.has_work(); });
    commands.swap(commands_);
    stats_.waiting += std::exchange(pending_, 0);
    return !stopping_;
}

void Engine::apply(std::vector<Command>& commands, std::vector<Output>& outputs) {
    for (Command& command : commands) {
        if (auto* submission = std::get_if<Submission>(&command)) {
            stepper_.add(std::move(submission->spec), submission->at, outputs);
        } else {
            stepper_.cancel(std::get<Abort>(command).request, outputs);
        }
    }
    commands.clear();
}

void Engine::publish(std::vector<Output>& outputs) {
    {
        const std::lock_guard lock(mutex_);
        stats_ = stepper_.stats();
        for (const Output& output : outputs) {
            if (output.request_done) live_.erase(output.request);
        }
    }
    outputs_.push(outputs);
}

void Engine::loop() {
    std::vector<Command> commands;
    std::vector<Output> outputs;
    while (wait_for_commands(commands)) {
        try {
            apply(commands, outputs);
            stepper_.expire(Stepper::Clock::now(), outputs);
            if (stepper_.has_work()) stepper_.step(outputs);
            stepper_.rest();
        } catch (const std::exception& error) {
            // Nothing a request can do leads here; should it happen all the same, the engine outlives it.
            stepper_.fail_all(std::string("[engine] the engine failed: ") + error.what(), outputs);
        }
        publish(outputs);
    }
    apply(commands, outputs);
    stepper_.cancel_all(outputs);
    stepper_.settle();
    publish(outputs);
    outputs_.close();
    try {
        stepper_.save_cache(kSaving);
    } catch (const std::exception&) {
        // No memory for it: what is cached can be computed.
    }
    const std::lock_guard lock(mutex_);
    stats_ = stepper_.stats();
}

}  // namespace llmcore
