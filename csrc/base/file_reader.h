// Copies bytes of an open file, past the page tables: a mapped file costs a fault for every few pages.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>

#include "base/descriptor.h"

namespace llmcore {

// What the system has in memory is copied from there. What it has not goes straight from a fast disk to its
// place, which takes no second copy's memory; from a slow one it passes the system's cache, so that the next
// who wants it need not wait for the disk again.
class FileReader {
public:
    static constexpr std::size_t kPage = 4096;

    // Takes over what open(2) returned.
    explicit FileReader(int fd) : file_(fd) {}

    int fd() const { return file_.get(); }

    // Fills `target` from `offset` on. From any thread. Straight from the disk where target's place in a page
    // is that of the offset. Throws Error(gguf) if the file ends before, or cannot be read.
    void read(std::int64_t offset, std::span<std::byte> target) const;

private:
    std::int64_t read_some(std::int64_t offset, std::span<std::byte> target) const;
    std::int64_t read_direct(std::int64_t offset, std::span<std::byte> pages) const;
    bool goes_direct() const;
    void judge_direct(std::int64_t bytes, std::int64_t taken) const;

    Descriptor file_;
    mutable std::once_flag opened_;
    mutable std::optional<Descriptor> direct_;  // the same file, past the system's cache
    mutable std::atomic<bool> direct_pays_ = true;
    mutable std::atomic<int> reading_ = 0;  // straight from the disk at this moment
    mutable std::atomic<std::int64_t> direct_bytes_ = 0;
    mutable std::atomic<std::int64_t> direct_nanoseconds_ = 0;  // each shared out among those at once
};

}  // namespace llmcore
