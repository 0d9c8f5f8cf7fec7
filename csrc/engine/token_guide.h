// Which tokens constrained sequences may take next: what grammars, which live outside the core, tell the
// engine.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace llmcore {

// One sequence of a request.
struct GuidedSequence {
    std::uint64_t request = 0;
    std::int64_t index = 0;
};

struct GuideQuery {
    GuidedSequence sequence;
    std::int32_t token = -1;  // sampled since the last query of this sequence; -1: none was
};

// The 32-bit words of one mask: a bit a token, and one more at n_vocab that says whether the text may end.
constexpr std::int64_t mask_words(std::int64_t n_vocab) { return n_vocab / 32 + 1; }

class TokenGuide {
public:
    virtual ~TokenGuide() = default;
    // Advances each query's sequence by its token and writes which tokens may come next, mask_words(n_vocab)
    // words a query; bit t % 32 of word t / 32 is token t. `ended` sequences are never asked about again.
    // Returns an error a query; empty where all is well. Called on one thread, that may not be the engine's.
    virtual std::vector<std::string> advance(std::span<const GuideQuery> queries,
                                             std::span<const GuidedSequence> ended,
                                             std::span<std::uint32_t> masks) = 0;
};

}  // namespace llmcore
