// What a grammar's mask permits a sequence to do next.
#pragma once

#include <cstdint>
#include <span>

#include "engine/request.h"

namespace llmcore {

struct Permission {
    bool complete = false;                   // the text is whole and nothing can be added
    std::span<const std::uint32_t> allowed;  // empty: every token
};

// Reads a TokenGuide's mask; where the text may end, `end_tokens` are added to it, unless the request ignores
// them. Throws Error(grammar) if the mask permits nothing at all.
Permission read_mask(std::span<std::uint32_t> mask, std::int64_t n_vocab, const RequestSpec& spec,
                     std::span<const std::int32_t> end_tokens);

}  // namespace llmcore
