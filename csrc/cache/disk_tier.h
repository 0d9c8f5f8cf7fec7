// Contents of KV blocks as files, written and read by a thread of its own: whoever asks never waits for a
// disk.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>

#include "cache/block_file.h"
#include "cache/cache_folder.h"
#include "cache/ram_tier.h"
#include "cache/recent_cost.h"

namespace llmcore {

class DiskTier {
public:
    using Clock = std::chrono::steady_clock;

    struct Options {
        std::filesystem::path folder;
        std::int64_t limit_bytes = 0;
        std::uint64_t model = 0;
        std::int64_t block_bytes = 0;
    };
    struct Contents {
        BlockKey key;
        BlockBytes bytes;
    };

    // Throws Error(invalid_argument) if the folder cannot be used.
    explicit DiskTier(const Options& options);
    // What is not written by then never is.
    ~DiskTier();
    DiskTier(const DiskTier&) = delete;
    DiskTier& operator=(const DiskTier&) = delete;

    const CacheSecret& secret() const { return secret_; }
    bool contains(const BlockKey& key) const;

    // Whether store() would take contents.
    bool has_room() const;
    // Queues contents to be written. Where the queue is full, or the disk lately refused, they are dropped:
    // false.
    bool store(Contents contents);
    // As store, but waits for a place in the queue, until then at most.
    bool store_by(Contents contents, Clock::time_point deadline);
    // Waits until what is queued is written, until then at most.
    void finish_by(Clock::time_point deadline);
    // What is not read yet is not, and counts as absent: nobody knows whether those files are whole.
    void stop_reading(Clock::time_point deadline);

    // Queues contents to be read; false if there are none of that name.
    bool fetch(const BlockKey& key);
    // Whether contents of that name are on their way, and the disk answers: it gave nothing for a while where
    // it does not.
    bool awaits(const BlockKey& key) const;
    // Whether any are.
    bool busy_reading() const;
    // Contents that arrived, in the order they were asked for.
    std::optional<Contents> next_arrival();
    void wait_for_arrival(Clock::duration longest);

    // What went wrong first; empty as long as nothing did.
    std::string warning() const;
    std::int64_t written() const { return written_; }  // blocks
    std::int64_t read() const { return read_; }
    double read_seconds() const { return read_seconds_; }  // a block, lately; 0: not known yet

private:
    void run();
    void write(const Contents& contents);
    std::string write_file(const Contents& contents);
    void read(const BlockKey& key);

    const std::int64_t block_bytes_;
    const std::uint64_t model_;
    CacheSecret secret_;
    const std::size_t most_queued_;
    const std::int64_t scan_bytes_;

    // The thread's own, once it runs.
    CacheFolder folder_;
    std::int64_t bytes_since_scan_ = 0;
    RecentCost read_cost_;

    mutable std::mutex mutex_;  // never held while the disk works
    std::condition_variable work_, progress_;
    std::unordered_set<BlockKey> on_disk_;
    std::deque<Contents> writes_;
    std::unordered_set<BlockKey> written_soon_;  // the names of those
    std::deque<BlockKey> reads_;
    std::unordered_set<BlockKey> awaited_;  // the names of those, of the one being read and of arrivals
    std::deque<Contents> arrivals_;
    Clock::time_point last_arrival_;
    Clock::time_point writes_again_;  // after a failure, nothing is written for a while
    bool reading_ = false;
    bool writing_ = false;
    bool stopping_ = false;
    std::string warning_;

    std::atomic<std::int64_t> written_ = 0;
    std::atomic<std::int64_t> read_ = 0;
    std::atomic<double> read_seconds_ = 0.0;
    std::thread thread_;
};

}  // namespace llmcore
