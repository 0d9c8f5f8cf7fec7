// Decides each step: which sequences run, and how many tokens of each. Single-threaded and free of any model,
// so that its policy can be tested alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/block_key.h"
#include "cache/block_pool.h"
#include "cache/spilled_blocks.h"
#include "engine/waiting_line.h"

namespace llmcore {

struct SchedulerConfig {
    std::int64_t n_ctx = 0;         // tokens of one sequence
    std::int64_t block_tokens = 0;  // tokens of a KV block
    std::int64_t part_tokens = 0;   // what a block begins with is shared in steps of so many; 0: not at all
    std::int64_t n_blocks = 0;      // KV blocks
    std::int64_t max_batch = 0;     // sequences that run at once
    std::int64_t max_step_tokens = 0;  // rows of a step
    std::int64_t max_logit_rows = 0;   // rows of a step whose logits may be asked for
    // Prompt rows of a step that also decodes, at most: bounds the pause a long prompt causes the others.
    std::int64_t mixed_prompt_tokens = 256;
    // Tokens for which a sequence must find room beyond those it has, to be admitted: so that none gives way
    // at once.
    std::int64_t room_to_grow = 64;
    // Prompts of which no more than that is left to run when they start do not wait behind longer ones.
    std::int64_t brief_prompt_tokens = 128;
    bool reuses_prefixes = true;  // sequences start with cached blocks of equal contents
    // A prompt runs in one step: its tokens see those after them. Then a step must have room for n_ctx.
    bool whole_prompts = false;
};

struct SequenceNeeds {
    std::int64_t n_prompt = 0;
    std::int64_t max_new_tokens = 0;  // 0: only the prompt is run
    bool all_rows = false;            // every prompt row's logits are wanted, not just the last one's
    bool pooling = false;             // hidden states instead of logits: steps hold one kind only
    std::int64_t priority = 0;        // lower runs earlier
    std::uint64_t tenant = 0;         // whose it is: equal priorities share fairly between tenants
};

struct StepEntry {
    SequenceId id = 0;
    std::int64_t n_tokens = 0;
    bool operator==(const StepEntry&) const = default;
};

class Scheduler {
public:
    // Throws Error(invalid_argument) for a configuration that cannot run one sequence.
    // spilled: where blocks come from that left the pool, and go; outlives the scheduler. Null: nowhere.
    // copy: makes the contents of a block those of another, at once; needed to share parts of blocks.
    using CopyBlock = std::function<void(std::int32_t from, std::int32_t to)>;
    explicit Scheduler(const SchedulerConfig& config, SpilledBlocks* spilled = nullptr, CopyBlock copy = {});

    // Throws Error(context_length) for a sequence that can never run, with the figures.
    static void check_fits(const SchedulerConfig& config, const SequenceNeeds& needs);

    // Queues a sequence. keys: names of its prompt up to the end of each part (key_tokens() tokens), as many
    // as are to be shared with others. Throws as check_fits does, and Error(invalid_argument) for an id in
    // use.
    void add(SequenceId id, const SequenceNeeds& needs, std::vector<BlockKey> keys = {});

    // Up to so many tokens guessed for a sequence that decodes may run in the next step beside its own.
    void propose(SequenceId id, std::int64_t n_tokens) { sequence(id).proposed = n_tokens; }

    // The next step: decode rows first, one token each, then guessed ones, then prompt chunks in order of
    // admission while the step has room; where a longer prompt is being run, brief ones get up to half of
    // that room first. A sequence starts behind the cached blocks that its keys name, live ones of others
    // included, and waits while another is computing the next of them; it always runs its last token itself,
    // so no block that is shared is ever written. What a further block has in common with its own tokens is
    // copied. Blocks for the step's tokens are taken here. Where they run out, the sequence admitted last
    // gives its blocks back and waits again; it later runs all its tokens anew, as one prompt. Sequences that
    // want all rows never have to: they are admitted only when the blocks of their longest text can be set
    // aside. Empty only when nothing is queued or running, or when all that is waits for blocks to be read
    // (SpilledBlocks::awaits_any).
    std::vector<StepEntry> schedule();

    // After a step: `n_tokens` more tokens of the sequence are cached.
    void advance(SequenceId id, std::int64_t n_tokens);
    // A token was sampled: it is to be run in a later step. key: of the text up to it where it ends a part,
    // if that is to be shared.
    void append_token(SequenceId id, std::optional<BlockKey> key = {});
    // Ends a sequence, whatever its state; its blocks are free at once.
    void finish(SequenceId id);

    // Narrows mixed_prompt_tokens to what the machine does in bearable time; clamped to 0 and the configured
    // value.
    void limit_mixed_prompt(std::int64_t n_tokens);

    bool has_work() const { return !sequences_.empty(); }
    bool contains(SequenceId id) const { return sequences_.contains(id); }
    std::int64_t waiting() const { return waiting_.size(); }
    std::int64_t running() const { return static_cast<std::int64_t>(running_.size()); }
    // Sequences that wait for their first token and would run now if steps had room for all.
    std::int64_t prompts() const;
    // Whether one of those that run is brief.
    bool reads_brief_prompt() const;
    std::int64_t preemptions() const { return preemptions_; }
    // Of those: sequences whose cached tokens were kept to be restored, as far as their blocks have no names.
    std::int64_t kept_preemptions() const { return kept_preemptions_; }
    std::int64_t cached_tokens(SequenceId id) const { return sequence(id).cached; }
    // Tokens that it did not have to run when it was first admitted.
    std::int64_t reused_tokens(SequenceId id) const { return sequence(id).reused; }
    std::span<const std::int32_t> blocks(SequenceId id) const { return sequence(id).blocks; }
    const BlockPool& pool() const { return pool_; }
    const SchedulerConfig& config() const { return config_; }
    std::int64_t key_tokens() const { return config_.part_tokens; }

private:
    struct Sequence {
        SequenceNeeds needs;
        std::int64_t known = 0;   // prompt and sampled tokens
        std::int64_t cached = 0;  // of those, in the KV cache
        std::int64_t reused = 0;
        std::int64_t proposed = 0;
        bool running = false;
        bool ran_before = false;
        bool brief = false;  // as brief_prompt_tokens says
        std::vector<std::int32_t> blocks;
        std::vector<BlockKey> keys;       // of the first full blocks of the known tokens
        std::vector<BlockKey> part_keys;  // of their parts; the last one of a block is the block's
        std::size_t published = 0;        // of the first parts, how many have their names
        std::int64_t kept = 0;  // tokens that were cached when it had to give way, if they were kept
        bool fetches = false;   // what it may reuse of the folder is being read

        bool decoding() const { return cached >= needs.n_prompt && known == cached + 1; }
        bool reads_prompt(bool pooling) const { return running && needs.pooling == pooling && !decoding(); }
        bool may_be_preempted() const { return !needs.all_rows; }
        WaitingLine::Place place() const { return {needs.priority, needs.tenant}; }
    };
    // The step under construction.
    struct Draft {
        std::int64_t tokens = 0;      // rows left
        std::int64_t logit_rows = 0;  // rows left whose logits may be asked for
        bool preempted = false;
        std::vector<StepEntry> entries;

        std::vector<StepEntry>::iterator find(SequenceId id);
    };

    const Sequence& sequence(SequenceId id) const;
    Sequence& sequence(SequenceId id);
    std::int64_t committed_blocks(const Sequence& sequence) const;
    std::int64_t committed_blocks() const;
    std::int64_t live_prefix(const Sequence& sequence) const;
    std::size_t most_reusable(const Sequence& sequence) const;
    std::vector<StepEntry> schedule_kind(bool pooling);
    void schedule_decode(bool pooling, Draft& draft);
    void schedule_prompt(SequenceId id, Draft& draft);
    void admit(bool pooling, const std::function<bool(const Sequence&)>& wanted, Draft& draft);
    void start(SequenceId id, Draft& draft);
    void schedule_brief(bool pooling, Draft& draft);
    bool is_brief(const Sequence& sequence, std::int64_t cached) const;
    void add_proposed(Draft& draft);
    bool awaits_donor(const Sequence& sequence) const;
    bool awaits_folder(Sequence& sequence);
    void take_arrivals();
    std::optional<std::int32_t> bring_back(const BlockKey& key);
    void attach_prefix(SequenceId id, Sequence& sequence);
    void attach_part(Sequence& sequence);
    void name_parts(Sequence& sequence, std::span<const BlockKey> keys) const;
    void attach_kept(SequenceId id, Sequence& sequence);
    void keep_rest(SequenceId id, Sequence& sequence);
    void forget_kept(SequenceId id, Sequence& sequence);
    void release_blocks(Sequence& sequence);
    std::int64_t secure_blocks(SequenceId id, std::int64_t n_tokens, Draft& draft);
    bool preempt_for(SequenceId id, Draft& draft);
    void take_back(SequenceId id, Draft& draft);

    SchedulerConfig config_;
    SpilledBlocks* spilled_;
    CopyBlock copy_;
    std::size_t parts_of_block_ = 1;
    BlockPool pool_;
    std::int64_t mixed_prompt_tokens_;
    std::int64_t preemptions_ = 0;
    std::int64_t kept_preemptions_ = 0;
    bool pooling_turn_ = false;
    std::unordered_map<SequenceId, Sequence> sequences_;
    WaitingLine waiting_;
    std::vector<SequenceId> running_;  // in order of admission
};

}  // namespace llmcore
