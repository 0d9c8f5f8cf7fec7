// A small model guesses what the large one will say: speculative decoding (Leviathan et al. 2023; Chen et al.
// 2023). It has a KV cache of its own, and catches up with sequences when it is asked about them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/block_pool.h"
#include "engine/model_runner.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"
#include "engine/step_rows.h"
#include "sampling/sampler.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

// Throws Error(model) unless both vocabularies name the same tokens; one may go on with unused ones.
void check_same_tokens(const Vocabulary& model, const Vocabulary& draft);

class Drafter {
public:
    // n_vocab: tokens that the large model scores.
    Drafter(std::unique_ptr<ModelRunner> runner, std::int64_t n_vocab);

    struct Wish {
        SequenceId id = 0;
        std::span<const std::int32_t> tokens;  // all that the sequence has
        const Sampler* sampler = nullptr;  // its own, not changed: guesses are drawn as its tokens will be
        std::int64_t n_guesses = 0;
        std::vector<std::int32_t>* guesses = nullptr;  // what is guessed goes here
    };
    // Guesses for all wishes together, a row each at a time. First it runs what the cache lacks, at most
    // `catch_up` rows in all, those that lack least first; who is still behind gets no guess, nor does one
    // for which there are no blocks, whose text is too long or has tokens that the small model does not know.
    // Throws what the model throws; then call forget_all.
    void guess(std::span<const Wish> wishes, std::int64_t catch_up, StepCost& cost);

    // The sequence has ended.
    void forget(SequenceId id);
    void forget_all();

    std::int64_t free_blocks() const { return pool_.free_blocks(); }
    std::int64_t total_blocks() const { return pool_.capacity(); }

private:
    struct Cached {
        std::vector<std::int32_t> tokens;  // whose keys and values are in the cache
        std::size_t agreed = 0;            // of those: known to be the sequence's
        std::vector<std::int32_t> blocks;
        std::uint64_t used = 0;  // the last call that asked
    };
    // A sequence that is being guessed for.
    struct Active {
        const Wish* wish = nullptr;
        Cached* cached = nullptr;
        Sampler sampler;
        std::vector<std::int32_t> pending = {};  // tokens to run next
    };

    void roll_back(Cached& cached, std::span<const std::int32_t> tokens) const;
    bool secure(Cached& cached, std::int64_t n_tokens);
    bool take_back_idle();
    void release(Cached& cached);
    std::optional<Active> prepare(const Wish& wish);
    std::vector<Active> step(std::vector<Active> actives, std::int64_t most_rows, StepCost& cost);
    bool draw(Active& active, std::span<const float> row);
    std::span<const float> fitted(std::span<const float> row);

    const std::unique_ptr<ModelRunner> runner_;
    const RunnerLimits limits_;
    const std::int64_t n_vocab_;
    BlockPool pool_;
    std::unordered_map<SequenceId, Cached> cached_;
    std::uint64_t call_ = 0;
    StepRows rows_;
    SamplingScratch scratch_;
    std::vector<float> fitted_;
};

}  // namespace llmcore
