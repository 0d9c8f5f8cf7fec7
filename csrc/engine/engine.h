// The engine: a thread that steps the model as long as there is work, and sleeps otherwise.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <variant>
#include <vector>

#include "engine/model_runner.h"
#include "engine/output_queue.h"
#include "engine/request.h"
#include "engine/stepper.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

struct EngineConfig {
    std::int64_t max_batch = 32;   // sequences that run at once
    std::int64_t max_queue = 256;  // sequences that wait
    bool prefix_cache = true;      // prompts start behind the cached blocks of equal beginnings
    // Between two tokens of a sequence: prompts beside it are cut accordingly, as Pace says.
    std::optional<double> max_itl_seconds = {};
    std::int64_t prompt_lookup = 0;  // tokens to guess from what came before, a step and sequence
    std::int64_t draft_tokens = 4;   // the same by the draft model, if there is one
    bool draft_adapts = true;        // fewer where that does not pay
    SpillOptions spill = {};         // where KV blocks go that leave the cache
};

class Engine {
public:
    // guide: for guided requests; null where there are none. draft: a small model of the same vocabulary that
    // guesses; may be null.
    Engine(std::unique_ptr<ModelRunner> runner, Vocabulary vocabulary, const EngineConfig& config,
           std::unique_ptr<TokenGuide> guide = nullptr, std::unique_ptr<ModelRunner> draft = nullptr);
    // Ends what is left with outputs "cancelled", which nobody can read any more.
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // From any thread. Throws Error(context_length), Error(queue_full) or Error(invalid_argument); after
    // that, and after stop, the request is not taken.
    void submit(RequestSpec spec);
    // Ends a request between steps, wherever it is. From any thread; unknown and ended ids are passed over.
    void abort(std::uint64_t request);

    // The adapters that requests may name. Loads one from a file; from any thread, beside steps. Throws as
    // open_adapter and LoraShelf::add.
    void load_adapter(const LoraSource& source);
    LoraShelf& adapters() { return adapters_; }
    const LoraShelf& adapters() const { return adapters_; }

    OutputQueue& outputs() { return outputs_; }
    EngineStats stats() const;
    // What the operator should know of the tiers below the cache, told once; otherwise empty.
    std::string new_warning();
    const Vocabulary& vocabulary() const { return vocabulary_; }
    const RunnerLimits& limits() const { return limits_; }

    // Ends every request with outputs "cancelled", closes the output queue and joins the thread, which first
    // saves the cache where it has a folder.
    void stop();

private:
    struct Submission {
        RequestSpec spec;
        Stepper::Clock::time_point at;
    };
    struct Abort {
        std::uint64_t request;
    };
    using Command = std::variant<Submission, Abort>;

    void loop();
    bool wait_for_commands(std::vector<Command>& commands);
    void apply(std::vector<Command>& commands, std::vector<Output>& outputs);
    void publish(std::vector<Output>& outputs);

    const std::unique_ptr<ModelRunner> runner_;
    const Vocabulary vocabulary_;
    const RunnerLimits limits_;
    const EngineConfig config_;
    const SchedulerConfig scheduler_config_;
    const bool guides_;
    LoraShelf adapters_;
    OutputQueue outputs_;
    const std::unique_ptr<SpilledBlocks> spilled_;
    Stepper stepper_;  // the thread's own, once it runs

    mutable std::mutex mutex_;
    std::condition_variable work_;
    std::vector<Command> commands_;
    std::int64_t pending_ = 0;  // sequences in commands_
    std::unordered_set<std::uint64_t> live_;
    EngineStats stats_;
    std::string told_warning_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace llmcore
