// Merge rules of byte-pair encoders, as pairs of token ids in order of priority.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/vocabulary.h"

namespace llmcore {

struct Merge {
    std::int32_t left;
    std::int32_t right;
};

// The rules a SentencePiece vocabulary implies: every normal or user-defined piece, cut at every character
// border into two known pieces, ordered by (falling score of the piece, id, place of the cut). `scores` may
// be empty (all equal). Throws Error(model) where the lengths differ.
std::vector<Merge> derive_spm_merges(std::span<const std::string_view> tokens, std::span<const float> scores,
                                     std::span<const TokenType> types);

// Rules written "left right", as in tokenizer.ggml.merges; the first space at or after the second byte
// separates. Rules with a part (or a result) that is no token are left out: no text can use them.
std::vector<Merge> parse_bpe_merges(std::span<const std::string_view> tokens,
                                    std::span<const std::string_view> rules);

}  // namespace llmcore
