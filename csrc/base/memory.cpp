#include "base/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <limits>
#include <string>

#include "base/error.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace llmcore {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// The address sanitizer sees no mapping's end by itself: a page of no-man's-land behind each buffer, which
// ordinary builds do without.
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kGuard = 4096;
void poison(const void* data, std::size_t bytes) { __asan_poison_memory_region(data, bytes); }
void unpoison(const void* data, std::size_t bytes) { __asan_unpoison_memory_region(data, bytes); }
#else
constexpr std::size_t kGuard = 0;
void poison(const void*, std::size_t) {}
void unpoison(const void*, std::size_t) {}
#endif

}  // namespace

void map_file_pages(const std::byte* data, std::size_t bytes) {
    constexpr std::uintptr_t kPage = 4096;
    const auto first = reinterpret_cast<std::uintptr_t>(data) & ~(kPage - 1);
    const std::size_t size = reinterpret_cast<std::uintptr_t>(data) + bytes - first;
    auto* pages = reinterpret_cast<void*>(first);
#ifdef MADV_POPULATE_READ
    if (madvise(pages, size, MADV_POPULATE_READ) == 0) return;
#endif
    madvise(pages, size, MADV_WILLNEED);
}

PageBuffer::PageBuffer(std::size_t bytes) {
    if (bytes == 0) return;
    const bool huge = bytes >= kHugePage;
    const std::size_t slack = huge ? kHugePage : 0;
    if (bytes > std::numeric_limits<std::size_t>::max() / 2)
        fail(ErrorCode::model, "memory", "request too large", std::to_string(bytes) + " bytes", "less");
    map_bytes_ = bytes + slack + kGuard;
    map_ =
        mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map_ == MAP_FAILED) {
        map_ = nullptr;
        fail(ErrorCode::model, "memory", "out of memory for " + std::to_string(bytes >> 20) + " MB");
    }
    auto address = reinterpret_cast<std::uintptr_t>(map_);
    if (huge) address = (address + kHugePage - 1) & ~(kHugePage - 1);
    data_ = reinterpret_cast<std::byte*>(address);
    size_ = bytes;
    poison(data_ + size_, kGuard);
#ifdef MADV_HUGEPAGE
    // A hint: where it is refused, ordinary pages serve.
    if (huge) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
}

PageBuffer::~PageBuffer() {
    if (map_ == nullptr) return;
    unpoison(data_ + size_, kGuard);
    munmap(map_, map_bytes_);
}

// Periods are powers of two of at most a page.
std::byte* PageArena::take(std::size_t bytes, std::size_t place, std::size_t period) {
    // What is not touched costs nothing, so that each mapping can be larger than the last.
    constexpr std::size_t kFirst = std::size_t{32} << 20;
    constexpr std::size_t kLargest = std::size_t{1} << 30;
    std::size_t begin = used_ + (place - used_) % period;
    const bool fits =
        !mappings_.empty() && begin <= mappings_.back().size() && bytes <= mappings_.back().size() - begin;
    if (!fits || kGuard > 0) {  // with a guard, each allocation has its own behind it
        begin = place;
        const std::size_t next = mappings_.empty() ? kFirst : std::min(2 * mappings_.back().size(), kLargest);
        try {
            mappings_.emplace_back(kGuard > 0 ? begin + bytes : std::max(begin + bytes, next));
        } catch (const Error&) {
            if (begin + bytes >= next) throw;
            mappings_.emplace_back(begin + bytes);  // where address space is scarce
        }
    }
    used_ = begin + bytes;
    return mappings_.back().data() + begin;
}

}  // namespace llmcore
