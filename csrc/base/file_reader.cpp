#include "base/file_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>

#include "base/error.h"

namespace llmcore {

namespace {

constexpr std::int64_t kJudgedBytes = std::int64_t{64} << 20;
constexpr double kSlowBytesPerSecond = 0.7e9;  // just above what SATA carries

std::int64_t nanoseconds() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// Before Linux 6.3 a process that forks beside such a read may find its bytes in the child alone (open(2),
// O_DIRECT).
bool forks_spare_direct_reads() {
    utsname system{};
    int major = 0;
    int minor = 0;
    return ::uname(&system) == 0 && std::sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 3));
}

// How many of the first bytes are alike, in the system's memory or not, and which. Asking takes no reading,
// as preadv2's RWF_NOWAIT does, which has the system begin to read. Of a file that the user may not write the
// system says that all is there.
struct Run {
    std::size_t bytes = 0;
    bool cached = true;
};

Run first_run(int fd, std::int64_t offset, std::size_t bytes) {
    constexpr std::size_t kMost = 4096;  // of pages at a time
    const auto before = static_cast<std::size_t>(offset) % FileReader::kPage;
    const std::size_t size = std::min(before + bytes, kMost * FileReader::kPage);
    void* pages =
        ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, offset - static_cast<std::int64_t>(before));
    if (pages == MAP_FAILED) return {bytes, true};
    std::array<unsigned char, kMost> states{};
    const bool known = ::mincore(pages, size, states.data()) == 0;
    ::munmap(pages, size);
    if (!known) return {bytes, true};
    const std::size_t n_pages = (size + FileReader::kPage - 1) / FileReader::kPage;
    const auto is_cached = [&](std::size_t page) { return (states[page] & 1U) != 0; };
    std::size_t end = 1;
    while (end < n_pages && is_cached(end) == is_cached(0)) ++end;
    return {std::min(end * FileReader::kPage, size) - before, is_cached(0)};
}

}  // namespace

void FileReader::read(std::int64_t offset, std::span<std::byte> target) const {
    while (!target.empty()) {
        const std::int64_t got = read_some(offset, target);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            fail(ErrorCode::gguf, "file", "cannot be read", std::generic_category().message(errno), "bytes");
        if (got == 0)
            fail(ErrorCode::gguf, "file", "it was shortened while it was read",
                 "an end at byte " + std::to_string(offset), std::to_string(target.size()) + " bytes more");
        target = target.subspan(static_cast<std::size_t>(got));
        offset += got;
    }
}

// As many bytes as one call gives; otherwise as read(2).
std::int64_t FileReader::read_some(std::int64_t offset, std::span<std::byte> target) const {
    const auto place = static_cast<std::size_t>(offset) % kPage;
    if (target.size() >= 2 * kPage && reinterpret_cast<std::uintptr_t>(target.data()) % kPage == place &&
        goes_direct()) {
        const Run run = first_run(fd(), offset, target.size());
        target = target.first(run.bytes);
        if (!run.cached && place != 0) target = target.first(std::min(target.size(), kPage - place));
        const std::size_t pages = target.size() / kPage * kPage;
        if (!run.cached && place == 0 && pages > 0) return read_direct(offset, target.first(pages));
    }
    return ::pread(fd(), target.data(), target.size(), static_cast<off_t>(offset));
}

std::int64_t FileReader::read_direct(std::int64_t offset, std::span<std::byte> pages) const {
#ifdef MADV_POPULATE_WRITE
    // Before the clock starts: fresh memory may take longer than the disk.
    ::madvise(pages.data(), pages.size(), MADV_POPULATE_WRITE);
#endif
    const int beside_at_start = ++reading_;
    const std::int64_t start = nanoseconds();
    const ssize_t got = ::pread(direct_->get(), pages.data(), pages.size(), static_cast<off_t>(offset));
    const std::int64_t taken = nanoseconds() - start;
    const int beside_at_end = reading_--;
    if (got > 0) {
        judge_direct(got, taken / std::max(beside_at_start, beside_at_end));
        return got;
    }
    if (got < 0 && errno != EINTR) direct_pays_ = false;  // it needs another alignment, for instance
    return ::pread(fd(), pages.data(), pages.size(), static_cast<off_t>(offset));
}

bool FileReader::goes_direct() const {
#ifdef O_DIRECT
    std::call_once(opened_, [this] {
        if (!forks_spare_direct_reads() || ::sysconf(_SC_PAGESIZE) != long{kPage}) return;
        const std::string same = "/proc/self/fd/" + std::to_string(fd());
        direct_.emplace(::open(same.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
    });
    return direct_ && *direct_ && direct_pays_;
#else
    return false;
#endif
}

void FileReader::judge_direct(std::int64_t bytes, std::int64_t taken) const {
    const std::int64_t all_bytes = direct_bytes_ += bytes;
    const std::int64_t all_taken = direct_nanoseconds_ += taken;
    const double seconds = 1e-9 * static_cast<double>(all_taken);
    if (all_bytes >= kJudgedBytes && static_cast<double>(all_bytes) < seconds * kSlowBytesPerSecond)
        direct_pays_ = false;
}

}  // namespace llmcore
