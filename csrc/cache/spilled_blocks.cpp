#include "cache/spilled_blocks.h"

#include <new>
#include <utility>

#include "base/error.h"
#include "base/random_word.h"

namespace llmcore {

namespace {

// Copies that are thought too dear are tried again every so many times: they may have become cheaper.
constexpr std::int64_t kTriesAgain = 64;

}  // namespace

SpilledBlocks::SpilledBlocks(BlockCopier copier, std::int64_t block_tokens, const SpillOptions& options)
    : copier_(std::move(copier)), block_tokens_(block_tokens), secret_{random_word(), random_word()} {
    if (copier_.block_bytes < 1) {
        fail(ErrorCode::invalid_argument, "cache",
             "kv_spill_ram and kv_cache_dir need a device whose KV blocks can be copied; this one's cannot");
    }
    const std::int64_t blocks = options.ram_bytes / copier_.block_bytes;
    if (options.ram_bytes != 0 && blocks < 1) {
        fail(ErrorCode::invalid_argument, "cache", "kv_spill_ram", std::to_string(options.ram_bytes),
             "at least " + std::to_string(copier_.block_bytes) + " bytes, one KV block");
    }
    if (blocks > 0) ram_.emplace(blocks);
    if (options.folder.empty()) return;
    const std::int64_t file_bytes = block_file_bytes(copier_.block_bytes);
    if (options.folder_bytes < file_bytes) {
        fail(ErrorCode::invalid_argument, "cache", "kv_cache_dir_limit", std::to_string(options.folder_bytes),
             "at least " + std::to_string(file_bytes) + " bytes, one KV block");
    }
    folder_blocks_ = options.folder_bytes / file_bytes;
    try {
        disk_ = std::make_unique<DiskTier>(DiskTier::Options{.folder = options.folder,
                                                             .limit_bytes = options.folder_bytes,
                                                             .model = options.model,
                                                             .block_bytes = copier_.block_bytes});
        secret_ = disk_->secret();
    } catch (const std::exception& error) {
        refusal_ = std::string(error.what()) + "; nothing is kept there";
    }
}

BlockHasher SpilledBlocks::hasher() const { return {secret_[0], secret_[1]}; }

// Out and in again, at most what it costs to compute.
bool SpilledBlocks::pays(std::int64_t n_tokens) {
    if (row_seconds_ == 0.0 || 2 * copy_cost_.seconds() <= row_seconds_ * static_cast<double>(n_tokens))
        return true;
    return ++refusals_ % kTriesAgain == 0;
}

BlockBytes SpilledBlocks::new_room() const {
    return std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(copier_.block_bytes));
}

BlockBytes SpilledBlocks::read(std::int32_t block, BlockBytes room) {
    const Clock::time_point began = Clock::now();
    copier_.read(block, room.get());
    copy_cost_.add(std::chrono::duration<double>(Clock::now() - began).count());
    return room;
}

void SpilledBlocks::write(std::int32_t block, const std::byte* from) {
    const Clock::time_point began = Clock::now();
    copier_.write(block, from);
    copy_cost_.add(std::chrono::duration<double>(Clock::now() - began).count());
}

// Room for one more block: the oldest one's, which goes to the folder if that takes it.
BlockBytes SpilledBlocks::room_in_memory() {
    std::optional<RamTier::Entry> oldest = ram_->make_room();
    if (!oldest) return new_room();
    if (oldest->transient || !disk_) return std::move(oldest->bytes);
    disk_->store({oldest->key, std::move(oldest->bytes)});
    return new_room();
}

// Without memory for it, the contents are lost: they can be computed.
bool SpilledBlocks::keep_in_memory(const BlockKey& key, std::int32_t block, bool transient) {
    try {
        BlockBytes room = room_in_memory();
        ram_->add({key, read(block, std::move(room)), transient});
    } catch (const std::bad_alloc&) {
        return false;
    }
    ++stats_.spilled_ram;
    return true;
}

void SpilledBlocks::leaving(std::int32_t block, const BlockKey& key) {
    if (ram_) {
        if (ram_->use(key) == nullptr && pays(block_tokens_)) keep_in_memory(key, block, false);
        return;
    }
    if (!disk_ || disk_->contains(key) || !disk_->has_room() || !pays(block_tokens_)) return;
    try {
        disk_->store({key, read(block, new_room())});
    } catch (const std::bad_alloc&) {
        // As above.
    }
}

bool SpilledBlocks::use(const BlockKey& key) { return ram_ && ram_->use(key) != nullptr; }

bool SpilledBlocks::restore(const BlockKey& key, std::int32_t block) {
    const std::byte* bytes = ram_ ? ram_->use(key) : nullptr;
    if (bytes == nullptr) return false;
    write(block, bytes);
    ++stats_.restored_ram;
    return true;
}

bool SpilledBlocks::fetch(const BlockKey& key) {
    if (!disk_) return false;
    const double computing = row_seconds_ * static_cast<double>(block_tokens_);
    if (computing > 0.0 && disk_->read_seconds() > computing) return false;
    return disk_->fetch(key);
}

void SpilledBlocks::wait_for_arrival(Clock::duration longest) {
    if (disk_) disk_->wait_for_arrival(longest);
}

std::optional<DiskTier::Contents> SpilledBlocks::next_arrival() {
    return disk_ ? disk_->next_arrival() : std::nullopt;
}

bool SpilledBlocks::keep(const BlockKey& key, std::int32_t block, std::int64_t n_tokens) {
    return ram_ && !ram_->contains(key) && pays(n_tokens) && keep_in_memory(key, block, true);
}

void SpilledBlocks::forget(const BlockKey& key) {
    if (ram_) ram_->forget(key);
}

void SpilledBlocks::save(std::span<const Published> blocks, Clock::time_point deadline) {
    if (!disk_) return;
    disk_->stop_reading(deadline);
    std::int64_t left = folder_blocks_;
    const auto store = [&](DiskTier::Contents contents) {
        return left-- > 0 && disk_->store_by(std::move(contents), deadline);
    };
    for (const auto& [block, key] : blocks) {
        if (disk_->contains(key)) continue;
        if (!store({key, read(block, new_room())})) return;
    }
    while (ram_) {
        std::optional<RamTier::Entry> newest = ram_->take_newest();
        if (!newest) break;
        if (newest->transient || disk_->contains(newest->key)) continue;
        if (!store({newest->key, std::move(newest->bytes)})) return;
    }
    disk_->finish_by(deadline);
}

SpillStats SpilledBlocks::stats() const {
    SpillStats stats = stats_;
    if (disk_) {
        stats.spilled_disk = disk_->written();
        stats.restored_disk = disk_->read();
    }
    return stats;
}

std::string SpilledBlocks::warning() const { return disk_ ? disk_->warning() : refusal_; }

}  // namespace llmcore
