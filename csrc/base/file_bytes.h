// Bytes of an open file, read past the page tables: a mapped file costs a fault for every few pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace llmcore {

// Fills `target` from `offset` on. From any thread. Throws Error(gguf) if the file ends before, or cannot be
// read.
void read_file_bytes(int fd, std::int64_t offset, std::span<std::byte> target);

}  // namespace llmcore
