// Merge rules of byte-pair encoders, as token ids in order of priority.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/piece_index.h"
#include "tokenizer/vocabulary.h"

namespace llmcore {

struct Merge {
    std::int32_t left;
    std::int32_t right;
    std::int32_t merged;
};

// Rules written "left right", as in tokenizer.ggml.merges; the first space at or after the second byte
// separates. Throws Error(model) for one without a space, or with a part or a result that is no piece.
std::vector<Merge> parse_merges(const PieceIndex& pieces, std::span<const std::string_view> rules);

// Throws Error(model) where there are no rules, but pieces that only rules could make: without them every
// text would fall into single characters, and the model would hardly understand it. `types` by id.
void require_merges(const PieceIndex& pieces, std::span<const TokenType> types,
                    std::span<const Merge> merges);

}  // namespace llmcore
