// Names for the contents of KV blocks: equal names mean equal tokens before and in the block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace llmcore {

struct BlockKey {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    bool operator==(const BlockKey&) const = default;
};

// SipHash-2-4 (Aumasson, Bernstein 2012) under two secret keys, 128 bits in all: who does not know the keys
// cannot make two texts share a name.
class BlockHasher {
public:
    // Keys from the system's random numbers.
    BlockHasher();
    BlockHasher(std::uint64_t first, std::uint64_t second) : secret_{first, second} {}

    // Where chains begin: no two salts ever share a block.
    BlockKey root(std::string_view salt) const;
    BlockKey next(const BlockKey& before, std::span<const std::int32_t> block) const;
    // The keys of the full blocks of `tokens`.
    std::vector<BlockKey> chain(BlockKey root, std::span<const std::int32_t> tokens,
                                std::int64_t block_tokens) const;

private:
    BlockKey hash(std::span<const std::uint64_t> words) const;

    std::uint64_t secret_[2];
};

}  // namespace llmcore

template <>
struct std::hash<llmcore::BlockKey> {
    std::size_t operator()(const llmcore::BlockKey& key) const noexcept { return key.low; }
};
