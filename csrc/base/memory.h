// Large, aligned, lazily touched memory, on huge pages where the system grants them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace llmcore {

// Has the system read and map the pages of a mapped file before they are touched, which costs a fault for
// every few of them. A hint: what cannot be read is passed over.
void map_file_pages(const std::byte* data, std::size_t bytes);

// Zeroed pages of their own, aligned to at least 64 bytes (2 MB for 2 MB and more). Pages cost memory when
// first touched.
class PageBuffer {
public:
    PageBuffer() = default;
    // Throws Error(model) if the address space or the memory limit does not allow it.
    explicit PageBuffer(std::size_t bytes);
    ~PageBuffer();
    PageBuffer(PageBuffer&& other) noexcept { swap(other); }
    PageBuffer& operator=(PageBuffer&& other) noexcept {
        swap(other);
        return *this;
    }

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    void swap(PageBuffer& other) {
        std::swap(map_, other.map_);
        std::swap(map_bytes_, other.map_bytes_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }

    void* map_ = nullptr;
    std::size_t map_bytes_ = 0;
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// Many allocations that live together. They share huge pages, where a buffer of its own would end in up to
// 2 MB of small ones.
class PageArena {
public:
    // Zeroed, aligned to 64 bytes, for as long as the arena lives. Throws as PageBuffer.
    std::byte* take(std::size_t bytes) { return take(bytes, 0, 64); }
    // The same, where the address is `place` more than a multiple of 4,096.
    std::byte* take_at(std::size_t bytes, std::size_t place) { return take(bytes, place, 4096); }

private:
    std::byte* take(std::size_t bytes, std::size_t place, std::size_t period);

    std::vector<PageBuffer> mappings_;
    std::size_t used_ = 0;  // of the last one
};

}  // namespace llmcore
