#include "cache/block_key.h"

#include <bit>
#include <random>

namespace llmcore {

namespace {

struct SipState {
    std::uint64_t v0, v1, v2, v3;

    SipState(std::uint64_t k0, std::uint64_t k1)
        : v0(k0 ^ 0x736f6d6570736575ULL),
          v1(k1 ^ 0x646f72616e646f6dULL),
          v2(k0 ^ 0x6c7967656e657261ULL),
          v3(k1 ^ 0x7465646279746573ULL) {}

    void round() {
        v0 += v1;
        v1 = std::rotl(v1, 13) ^ v0;
        v0 = std::rotl(v0, 32);
        v2 += v3;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = std::rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
    }
    void absorb(std::uint64_t word) {
        v3 ^= word;
        round();
        round();
        v0 ^= word;
    }
    std::uint64_t finish() {
        v2 ^= 0xff;
        for (int i = 0; i < 4; ++i) round();
        return v0 ^ v1 ^ v2 ^ v3;
    }
};

std::uint64_t random_word() {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace

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
