#include "cache/block_key.h"

#include "base/random_word.h"
#include "cache/siphash.h"

namespace llmcore {

BlockHasher::BlockHasher() : secret_{random_word(), random_word()} {}

// The message is whole words, so its length stands for the padding of the published function.
BlockKey BlockHasher::hash(std::span<const std::uint64_t> words) const {
    const auto siphash = [&](std::uint64_t tweak) {
        SipState state(secret_[0] ^ tweak, secret_[1]);
        for (const std::uint64_t word : words) state.absorb(word);
        state.absorb(static_cast<std::uint64_t>(words.size()));
        return state.finish();
    };
    return {siphash(0), siphash(1)};
}

BlockKey BlockHasher::root(std::string_view salt) const {
    std::vector<std::uint64_t> words{salt.size()};
    for (std::size_t i = 0; i < salt.size(); i += 8) {
        std::uint64_t word = 0;
        for (std::size_t j = i; j < salt.size() && j < i + 8; ++j) {
            word = word << 8 | static_cast<unsigned char>(salt[j]);
        }
        words.push_back(word);
    }
    return hash(words);
}

BlockKey BlockHasher::next(const BlockKey& before, std::span<const std::int32_t> block) const {
    std::vector<std::uint64_t> words{before.high, before.low};
    for (const std::int32_t token : block) words.push_back(static_cast<std::uint32_t>(token));
    return hash(words);
}

std::vector<BlockKey> BlockHasher::chain(BlockKey root, std::span<const std::int32_t> tokens,
                                         std::int64_t block_tokens) const {
    std::vector<BlockKey> keys;
    const auto size = static_cast<std::size_t>(block_tokens);
    for (std::size_t begin = 0; begin + size <= tokens.size(); begin += size) {
        keys.push_back(root = next(root, tokens.subspan(begin, size)));
    }
    return keys;
}

}  // namespace llmcore
