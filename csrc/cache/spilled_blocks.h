// What lies below the pool: contents of KV blocks that had to make room there, in ordinary memory and in a
// folder, to come back instead of being computed again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "cache/block_key.h"
#include "cache/disk_tier.h"
#include "cache/ram_tier.h"
#include "cache/recent_cost.h"

namespace llmcore {

struct SpillOptions {
    std::int64_t ram_bytes = 0;         // 0: no memory tier
    std::filesystem::path folder = {};  // empty: no folder
    std::int64_t folder_bytes = std::int64_t{8} << 30;
    std::uint64_t model = 0;  // of the folder's files: the model with all that changes keys and values

    bool wanted() const { return ram_bytes != 0 || !folder.empty(); }
};

// How blocks are copied: between steps, by the thread that steps.
struct BlockCopier {
    std::int64_t block_bytes = 0;
    std::function<void(std::int32_t block, std::byte* to)> read;
    std::function<void(std::int32_t block, const std::byte* from)> write;
};

struct SpillStats {
    std::int64_t spilled_ram = 0;  // blocks
    std::int64_t restored_ram = 0;
    std::int64_t spilled_disk = 0;
    std::int64_t restored_disk = 0;
};

// For one thread, but for warning().
class SpilledBlocks {
public:
    using Clock = DiskTier::Clock;

    // A folder that cannot be used is a warning, not an error: what is cached can be computed. Throws
    // Error(invalid_argument) for options that make no sense.
    SpilledBlocks(BlockCopier copier, std::int64_t block_tokens, const SpillOptions& options);

    // Names blocks the same way in every process that uses the folder.
    BlockHasher hasher() const;

    // The pool is about to give a block to somebody else: the last moment to copy its contents.
    void leaving(std::int32_t block, const BlockKey& key);
    // Whether restore() would find contents of that name; they are not dropped by what else is dropped next.
    bool use(const BlockKey& key);
    // Fills a block; false if there are no contents of that name.
    bool restore(const BlockKey& key, std::int32_t block);

    // Has contents read from the folder, for a sequence that waits for them; false if they are not there, or
    // to compute them is quicker.
    bool fetch(const BlockKey& key);
    // Whether contents of that name are about to arrive, or any are.
    bool awaits(const BlockKey& key) const { return disk_ && disk_->awaits(key); }
    bool awaits_any() const { return disk_ && disk_->busy_reading(); }
    void wait_for_arrival(Clock::duration longest);
    // Contents from the folder; they count as restored.
    std::optional<DiskTier::Contents> next_arrival();
    void fill(std::int32_t block, const DiskTier::Contents& contents) { write(block, contents.bytes.get()); }

    // Keeps the contents of a block of a sequence that had to give way, under a name of its own. False: there
    // is no place, or to compute its `n_tokens` again is cheaper.
    bool keep(const BlockKey& key, std::int32_t block, std::int64_t n_tokens);
    void forget(const BlockKey& key);

    // What a prompt's token costs to compute: copies are not worth more. 0: not known yet.
    void learn_row_seconds(double seconds) { row_seconds_ = seconds; }

    // For the time after the last step: `blocks` and what the memory tier holds go to the folder, as much as
    // fits and gets there in time.
    using Published = std::pair<std::int32_t, BlockKey>;
    void save(std::span<const Published> blocks, Clock::time_point deadline);

    SpillStats stats() const;
    std::string warning() const;  // from any thread; empty as long as nothing went wrong

private:
    bool pays(std::int64_t n_tokens);
    bool keep_in_memory(const BlockKey& key, std::int32_t block, bool transient);
    BlockBytes read(std::int32_t block, BlockBytes room);
    void write(std::int32_t block, const std::byte* from);
    BlockBytes new_room() const;
    BlockBytes room_in_memory();

    BlockCopier copier_;
    std::int64_t block_tokens_;
    std::int64_t folder_blocks_ = 0;
    std::optional<RamTier> ram_;
    std::unique_ptr<DiskTier> disk_;
    std::string refusal_;
    CacheSecret secret_;
    RecentCost copy_cost_;       // of a block, either way
    std::int64_t refusals_ = 0;  // in all
    double row_seconds_ = 0.0;
    SpillStats stats_;
};

}  // namespace llmcore
