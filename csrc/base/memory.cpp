#include "base/memory.h"

#include <sys/mman.h>

#include <limits>
#include <string>

#include "base/error.h"

namespace llmcore {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

PageBuffer::PageBuffer(std::size_t bytes) {
    if (bytes == 0) return;
    const bool huge = bytes >= kHugePage;
    const std::size_t slack = huge ? kHugePage : 0;
    if (bytes > std::numeric_limits<std::size_t>::max() / 2)
        fail(ErrorCode::model, "memory", "request too large", std::to_string(bytes) + " bytes", "less");
    map_bytes_ = bytes + slack;
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
#ifdef MADV_HUGEPAGE
    // A hint: where it is refused, ordinary pages serve.
    if (huge) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
}

PageBuffer::~PageBuffer() {
    if (map_ != nullptr) munmap(map_, map_bytes_);
}

}  // namespace llmcore
