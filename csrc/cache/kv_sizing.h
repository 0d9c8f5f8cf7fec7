// How large the KV cache is: from the context asked for, the number of sequences and the memory there is.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace llmcore {

struct KvSizingInputs {
    std::string format = {};       // of keys and values, for people
    std::int64_t n_ctx = 0;        // asked for; 0: as much of the model's as fits the budget
    std::int64_t n_ctx_train = 0;  // the model's own context
    std::int64_t max_batch = 1;    // sequences that run at once
    std::int64_t block_tokens = 1;
    std::int64_t bytes_per_token = 1;  // keys and values of every layer
    std::int64_t available_bytes = 0;  // memory free for use
    std::int64_t budget_bytes = 0;     // of those, for the cache; 0: a quarter
};

struct KvPlan {
    std::string format = {};
    std::int64_t n_ctx = 0;
    std::int64_t block_tokens = 0;
    std::int64_t n_blocks = 0;
    std::int64_t block_bytes = 0;
    std::int64_t budget_bytes = 0;

    std::int64_t total_bytes() const { return n_blocks * block_bytes; }
    // Whole contexts that fit at once.
    double contexts() const {
        return static_cast<double>(n_blocks * block_tokens) / static_cast<double>(n_ctx);
    }
    // One line for people: what was chosen and from what.
    std::string describe() const;
};

// Enough blocks for max_batch full contexts, within the budget; never fewer than one full context. In the
// host's memory pages are touched as tokens arrive, so an idle cache costs address space only. A context
// asked for by number may take up to nine tenths of the available memory. Throws Error(invalid_argument),
// with the figures, when n_ctx is negative, exceeds the model's or does not fit.
KvPlan plan_kv(const KvSizingInputs& inputs);

// A memory that caches some of a model's layers.
struct KvRoom {
    std::int64_t layers = 0;
    std::int64_t available_bytes = 0;
    std::int64_t budget_bytes = 0;  // of those, for the cache
};

// Layers in several memories have as many blocks in each: the bytes of all layers that the scarcest allows.
KvRoom room_for_all(std::span<const KvRoom> rooms);

// What the system (and the control group, if it sets a limit) can still give, in bytes.
std::int64_t available_memory_bytes();

}  // namespace llmcore
