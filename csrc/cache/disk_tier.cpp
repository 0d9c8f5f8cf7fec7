#include "cache/disk_tier.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"

namespace llmcore {

namespace {

// What the queue of writes may hold: enough for a long prompt's blocks at once, little beside a model.
constexpr std::int64_t kQueueBytes = std::int64_t{64} << 20;
constexpr std::size_t kLeastQueued = 4;
// Contents that were read and wait for a place in the pool.
constexpr std::size_t kMostArrivals = 8;
constexpr auto kPatience = std::chrono::seconds(1);
constexpr auto kWriteAgain = std::chrono::seconds(30);

std::size_t queue_length(std::int64_t block_bytes) {
    return std::max(kLeastQueued, static_cast<std::size_t>(kQueueBytes / block_bytes));
}

}  // namespace

DiskTier::DiskTier(const Options& options)
    : block_bytes_(options.block_bytes),
      model_(options.model),
      most_queued_(queue_length(options.block_bytes)),
      scan_bytes_(options.limit_bytes / 8),
      folder_(options.folder, options.model, block_file_bytes(options.block_bytes), options.limit_bytes),
      on_disk_(folder_.keys()),
      last_arrival_(Clock::now()) {
    secret_ = folder_secret(options.folder);
    thread_ = std::thread([this] { run(); });
}

DiskTier::~DiskTier() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_.notify_all();
    thread_.join();
}

bool DiskTier::contains(const BlockKey& key) const {
    const std::lock_guard lock(mutex_);
    return on_disk_.contains(key) || written_soon_.contains(key);
}

bool DiskTier::has_room() const {
    const std::lock_guard lock(mutex_);
    return writes_.size() < most_queued_ && Clock::now() >= writes_again_;
}

bool DiskTier::store(Contents contents) { return store_by(std::move(contents), Clock::time_point::min()); }

bool DiskTier::store_by(Contents contents, Clock::time_point deadline) {
    {
        std::unique_lock lock(mutex_);
        if (on_disk_.contains(contents.key) || written_soon_.contains(contents.key)) return true;
        if (Clock::now() < writes_again_) return false;
        const auto has_room = [this] { return writes_.size() < most_queued_; };
        if (!has_room() && (deadline <= Clock::now() || !progress_.wait_until(lock, deadline, has_room)))
            return false;
        written_soon_.insert(contents.key);
        writes_.push_back(std::move(contents));
    }
    work_.notify_one();
    return true;
}

void DiskTier::finish_by(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    progress_.wait_until(lock, deadline, [this] { return writes_.empty() && !writing_; });
}

void DiskTier::stop_reading(Clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    for (const BlockKey& key : reads_) {
        awaited_.erase(key);
        on_disk_.erase(key);
    }
    reads_.clear();
    progress_.wait_until(lock, deadline, [this] { return !reading_; });
}

bool DiskTier::fetch(const BlockKey& key) {
    {
        const std::lock_guard lock(mutex_);
        if (!on_disk_.contains(key)) return false;
        if (!awaited_.insert(key).second) return true;
        // A disk that had nothing to do is not one that gives no answer.
        if (awaited_.size() == 1) last_arrival_ = Clock::now();
        reads_.push_back(key);
    }
    work_.notify_one();
    return true;
}

bool DiskTier::awaits(const BlockKey& key) const {
    const std::lock_guard lock(mutex_);
    return awaited_.contains(key) && Clock::now() < last_arrival_ + kPatience;
}

bool DiskTier::busy_reading() const {
    const std::lock_guard lock(mutex_);
    return !awaited_.empty() && Clock::now() < last_arrival_ + kPatience;
}

std::optional<DiskTier::Contents> DiskTier::next_arrival() {
    std::optional<Contents> arrival;
    {
        const std::lock_guard lock(mutex_);
        if (arrivals_.empty()) return std::nullopt;
        arrival = std::move(arrivals_.front());
        arrivals_.pop_front();
        awaited_.erase(arrival->key);
    }
    work_.notify_one();
    return arrival;
}

void DiskTier::wait_for_arrival(Clock::duration longest) {
    std::unique_lock lock(mutex_);
    progress_.wait_for(lock, longest, [this] { return !arrivals_.empty() || awaited_.empty(); });
}

std::string DiskTier::warning() const {
    const std::lock_guard lock(mutex_);
    return warning_;
}

void DiskTier::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        const auto may_read = [this] { return !reads_.empty() && arrivals_.size() < kMostArrivals; };
        work_.wait(lock, [&] { return stopping_ || may_read() || !writes_.empty(); });
        if (stopping_) return;
        if (may_read()) {
            const BlockKey key = reads_.front();
            reads_.pop_front();
            reading_ = true;
            lock.unlock();
            read(key);
        } else {
            Contents contents = std::move(writes_.front());
            writes_.pop_front();
            writing_ = true;
            lock.unlock();
            write(contents);
        }
        progress_.notify_all();
        lock.lock();
    }
}

void DiskTier::read(const BlockKey& key) {
    Contents contents{key, nullptr};
    bool good = false;
    const Clock::time_point began = Clock::now();
    try {
        contents.bytes = std::make_unique<std::byte[]>(static_cast<std::size_t>(block_bytes_));
        good =
            read_block_file(folder_.path_of(key), {model_, key},
                            std::span(contents.bytes.get(), static_cast<std::size_t>(block_bytes_)), secret_);
    } catch (const std::exception&) {
        // No memory: as a file that cannot be read.
    }
    read_cost_.add(std::chrono::duration<double>(Clock::now() - began).count());
    read_seconds_ = read_cost_.seconds();
    if (good) {
        folder_.used(key);
    } else {
        folder_.remove(key);
    }
    const std::lock_guard lock(mutex_);
    reading_ = false;
    last_arrival_ = Clock::now();
    if (good) {
        arrivals_.push_back(std::move(contents));
        ++read_;
    } else {
        on_disk_.erase(key);
        awaited_.erase(key);
    }
}

// An empty string, or what went wrong.
std::string DiskTier::write_file(const Contents& contents) {
    if (bytes_since_scan_ > scan_bytes_) {
        folder_.scan();
        bytes_since_scan_ = 0;
        std::unordered_set<BlockKey> keys = folder_.keys();
        const std::lock_guard lock(mutex_);
        on_disk_ = std::move(keys);
    }
    std::vector<BlockKey> removed;
    if (!folder_.make_room(removed)) return "one block exceeds the limit";
    {
        const std::lock_guard lock(mutex_);
        for (const BlockKey& key : removed) on_disk_.erase(key);
    }
    const std::span<const std::byte> bytes(contents.bytes.get(), static_cast<std::size_t>(block_bytes_));
    std::string problem =
        write_block_file(folder_.path_of(contents.key), {model_, contents.key}, bytes, secret_);
    if (problem.empty()) {
        folder_.used(contents.key);
        bytes_since_scan_ += block_bytes_;
    }
    return problem;
}

void DiskTier::write(const Contents& contents) {
    std::string problem;
    try {
        problem = write_file(contents);
    } catch (const std::exception& error) {
        problem = error.what();
    }
    const std::lock_guard lock(mutex_);
    writing_ = false;
    written_soon_.erase(contents.key);
    if (problem.empty()) {
        on_disk_.insert(contents.key);
        ++written_;
        return;
    }
    if (warning_.empty()) warning_ = "[cache] the KV cache's folder takes no more blocks for now: " + problem;
    writes_again_ = Clock::now() + kWriteAgain;
    writes_.clear();
    written_soon_.clear();
}

}  // namespace llmcore
