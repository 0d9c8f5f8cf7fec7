// Leaves out merge rules that no text uses.
#pragma once

#include <vector>

#include "tokenizer/merges.h"
#include "tokenizer/piece_index.h"

namespace llmcore {

// The rules that some text may use, in order: what they merge stays the same. Lists made from token ranks
// hold every way to cut a piece in two, half of them for nothing.
//
// Merging makes each piece in one way only: as long as no rule merges over the piece's borders, it goes on
// inside as it would without neighbours. So of the rules that make a piece, only that is needed whose parts
// are there, and next to each other, when the piece's own text is merged. Where rules come after those for
// their parts, a piece is made at the rank of its rule, and that is quick to tell.
std::vector<Merge> without_unused_merges(std::vector<Merge> merges, const PieceIndex& pieces);

}  // namespace llmcore
