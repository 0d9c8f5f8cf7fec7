// Sequences in a decoder, any number of whose tokens run in a step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "harness.h"
#include "model/decoder.h"

namespace llmcore::test {

using Tokens = std::vector<std::int32_t>;

struct Sequence {
    Tokens tokens;
    Tokens blocks;
    std::size_t cached = 0;
    std::vector<float> logits;  // of every token so far
};

// Runs the next n tokens of each sequence in one step.
inline void step(Decoder& decoder, const std::vector<std::pair<Sequence*, std::size_t>>& parts) {
    Tokens tokens, positions, row_starts{0}, kv_lens, table, rows;
    std::size_t stride = 0;
    for (const auto& part : parts) stride = std::max(stride, part.first->blocks.size());
    for (const auto& [sequence, n] : parts) {
        for (std::size_t i = sequence->cached; i < sequence->cached + n; ++i) {
            tokens.push_back(sequence->tokens[i]);
            positions.push_back(static_cast<std::int32_t>(i));
            rows.push_back(static_cast<std::int32_t>(rows.size()));
        }
        row_starts.push_back(static_cast<std::int32_t>(tokens.size()));
        kv_lens.push_back(static_cast<std::int32_t>(sequence->cached + n));
        table.insert(table.end(), sequence->blocks.begin(), sequence->blocks.end());
        table.resize(stride * kv_lens.size(), 0);
    }
    const Batch batch{.tokens = tokens,
                      .positions = positions,
                      .row_starts = row_starts,
                      .kv_lens = kv_lens,
                      .block_table = table,
                      .block_table_stride = static_cast<std::int64_t>(stride),
                      .logit_rows = rows};
    std::span<const float> logits = decoder.forward(batch);
    const auto width = static_cast<std::size_t>(decoder.spec().n_vocab);
    CHECK(logits.size() == tokens.size() * width);
    for (const auto& [sequence, n] : parts) {
        sequence->logits.insert(sequence->logits.end(), logits.begin(),
                                logits.begin() + static_cast<std::ptrdiff_t>(n * width));
        logits = logits.subspan(n * width);
        sequence->cached += n;
    }
}

// Three sequences whose blocks lie apart from each other and out of order.
inline std::vector<Sequence> three_sequences(std::int64_t n_vocab) {
    std::vector<Sequence> sequences(3);
    Random random(5);
    const std::size_t lengths[] = {70, 33, 6};
    sequences[0].blocks = {9, 2, 14};
    sequences[1].blocks = {15, 0};
    sequences[2].blocks = {7};
    for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t t = 0; t < lengths[i]; ++t)
            sequences[i].tokens.push_back(
                static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(n_vocab))));
    return sequences;
}

}  // namespace llmcore::test
