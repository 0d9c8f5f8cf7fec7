// The read-only bytes of one file: mapped, or owned.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

namespace llmcore::gguf {

class Contents {
public:
    // Maps a regular file of at least one byte; anything else is Error(gguf). The size is that of the moment:
    // a file that somebody shortens while it is mapped ends in SIGBUS when the lost part is read.
    static Contents map(const std::filesystem::path& path);
    static Contents own(std::vector<std::byte> bytes);

    Contents(Contents&& other) noexcept;
    Contents& operator=(Contents&& other) noexcept;
    ~Contents();

    std::span<const std::byte> bytes() const { return bytes_; }
    // Open for reading as long as this lives; -1 if owned.
    int fd() const { return fd_; }
    // Whether the file still has the bytes that were mapped.
    bool is_whole() const;

private:
    Contents() = default;
    std::span<const std::byte> bytes_;
    std::vector<std::byte> owned_;
    void* mapping_ = nullptr;  // null if owned
    int fd_ = -1;
};

}  // namespace llmcore::gguf
