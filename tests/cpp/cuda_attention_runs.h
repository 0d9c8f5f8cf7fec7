// Runs of the attention kernels on a random step, checked against float64.
#pragma once

#include "cuda_attention_step.h"

namespace llmcore::cuda {
namespace {

inline void run_decode(Random& random, const Options& options, const std::vector<Sequence>& sequences,
                       double limit) {
    Step step(random, options, sequences);
    AttentionStepArgs args = step.args();
    std::vector<int32_t> rows;
    std::vector<bool> done(static_cast<std::size_t>(step.n_rows), !options.with_rows);
    for (int row = step.n_rows - 1; options.with_rows && row >= 0; row -= 2) {
        rows.push_back(row);
        done[static_cast<std::size_t>(row)] = true;
    }
    DeviceArray<int32_t> device_rows(rows);
    if (options.with_rows) {
        args.rows = device_rows.data();
        args.n_rows = static_cast<int32_t>(rows.size());
    }
    // Counters are zero, the rest is not; a second launch finds what the first has left.
    DeviceArray<unsigned char> workspace(
        attention_decode_workspace_bytes(args.n_rows, step.n_heads, options.head_dim, options.n_splits));
    fill_device(workspace.data(), 0, attention_decode_workspace_bytes(0, 0, 0, 0), {});
    args.workspace = workspace.data();
    for (int launch = 0; launch < 2; ++launch) {
        step.poison_out();
        attention_decode(Stream{}, args);
        step.read();
        step.check(done, limit, "decode");
    }
}

inline void run_prefill(Random& random, const Options& options, const std::vector<Sequence>& sequences,
                        double limit) {
    Step step(random, options, sequences);
    AttentionStepArgs args = step.args();
    std::vector<int4> tiles;
    std::vector<bool> done(static_cast<std::size_t>(step.n_rows), false);
    int first = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
        for (int row = 0; row < sequences[s].n_rows; row += kPrefillRows) {
            tiles.push_back(
                {static_cast<int>(s), first + row, std::min(kPrefillRows, sequences[s].n_rows - row), 0});
        }
        first += sequences[s].n_rows;
    }
    std::fill(done.begin(), done.end(), true);
    DeviceArray<int4> device_tiles(tiles);
    args.tiles = device_tiles.data();
    args.n_tiles = static_cast<int32_t>(tiles.size());
    attention_prefill(Stream{}, args);
    step.read();
    step.check(done, limit, "prefill");
}

inline Options random_options(Random& random) {
    Options options;
    options.softcap = random.below(3) == 0 ? 5.0F : 0.0F;
    options.window = random.below(2) == 0 ? 1 + static_cast<int>(random.below(100)) : 0;
    options.with_sinks = random.below(2) == 0;
    options.causal = random.below(4) != 0;
    return options;
}

}  // namespace
}  // namespace llmcore::cuda
