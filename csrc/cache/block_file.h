// The contents of one KV block as a file: what is written, and what is believed of one that is found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "cache/block_key.h"

namespace llmcore {

// Two words that nobody outside the folder's owner knows.
using CacheSecret = std::array<std::uint64_t, 2>;

// Of whom a file is: the model with everything that changes its keys and values, and the block.
struct BlockName {
    std::uint64_t model = 0;
    BlockKey key;
};

// Bytes of a file with so many bytes of contents.
std::int64_t block_file_bytes(std::int64_t contents);

// Writes a file that appears whole or not at all, readable by its owner alone. Returns an empty string, or
// what went wrong; then nothing is left behind.
std::string write_block_file(const std::filesystem::path& path, const BlockName& name,
                             std::span<const std::byte> contents, const CacheSecret& secret);

// Fills `contents` from a regular file of exactly the right size whose header names that block and whose
// checksum, which takes the secret to make, is right. False for anything else.
bool read_block_file(const std::filesystem::path& path, const BlockName& name, std::span<std::byte> contents,
                     const CacheSecret& secret);

// The folder's secret, from its file `secret` (of mode 0600), which is made where there is none. Throws
// Error(invalid_argument) if it cannot be made, or is not a file that its owner alone can read.
CacheSecret folder_secret(const std::filesystem::path& folder);

}  // namespace llmcore
