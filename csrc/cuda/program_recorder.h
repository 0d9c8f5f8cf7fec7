// Makes a program of a step's launches: notes what they would be, and where blocks have to wait for one
// another.
#pragma once

#include <optional>
#include <vector>

#include "cuda/kernels/decode_program.h"

namespace llmcore::cuda {

class ProgramRecorder {
public:
    explicit ProgramRecorder(int n_blocks) : n_blocks_(n_blocks) {}

    // What a program has no phase for; all later calls do nothing.
    void refuse() { is_refused_ = true; }
    bool is_refused() const { return is_refused_; }

    void products(Packing packing, const MatmulArgs& matmul, const PackInput& input);
    void norm(const NormRowsArgs& args);
    void gather(const GatherRowsArgs& args);
    void rope_store(const RopeStoreArgs& args);
    void attention(const AttentionStepArgs& args);

    const std::vector<ProgramPhase>& phases() const { return phases_; }
    // False: it was refused, is empty or does not fit a block. Sets all but `phases` and `arrived`.
    bool finish(const DeviceLimits& limits, const StepView& step, ProgramArgs& args) const;

private:
    using Places = std::vector<const void*>;
    // The rows and caches that a phase reads and writes, by their beginnings.
    void add(ProgramPhase phase, const Places& reads, const Places& writes);
    void share_input(ProductsPhase& phase) const;
    int turns_of(const RopeStoreArgs& rope);

    int n_blocks_;
    bool is_refused_ = false;
    std::vector<ProgramPhase> phases_;
    std::vector<ProgramTurns> turns_;
    std::optional<RopeStoreArgs> rope_;  // waits for its attention
    Places read_, written_;              // since the blocks met last
    int next_block_ = 0;                 // that has the fewest units since then
};

}  // namespace llmcore::cuda
