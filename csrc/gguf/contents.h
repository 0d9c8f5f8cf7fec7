// The read-only bytes of one file: mapped, or owned.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/file_reader.h"

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
    // Of the file; null if owned.
    const FileReader* reader() const { return reader_.get(); }
    // Whether the file still has the bytes that were mapped.
    bool is_whole() const;

private:
    Contents() = default;
    std::span<const std::byte> bytes_;
    std::vector<std::byte> owned_;
    void* mapping_ = nullptr;  // null if owned
    std::unique_ptr<FileReader> reader_;
};

}  // namespace llmcore::gguf
