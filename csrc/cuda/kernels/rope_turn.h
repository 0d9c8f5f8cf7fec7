// Which elements of a head turn together, and by how much.
#pragma once

#include <math.h>

#include "cuda/kernels/rope_store.h"

namespace llmcore::cuda {

struct Turn {
    float cosine, sine;
};

// The angle and its reduction need double: at position 100000 a float has 1/128 radian.
SIMT_DEVICE Turn turn_of(int position, float inv_freq, float magnitude) {
    constexpr double kTurn = 6.283185307179586476925;
    const double angle = static_cast<double>(position) * static_cast<double>(inv_freq);
    const auto reduced = static_cast<float>(angle - rint(angle * (1 / kTurn)) * kTurn);
    Turn turn;
    sincosf(reduced, &turn.sine, &turn.cosine);
    turn.sine *= magnitude;
    turn.cosine *= magnitude;
    return turn;
}

// Where the two elements of a pair lie in a head. Those after the rotated ones are paired for their loads'
// sake.
struct Pair {
    int first, second;
};
SIMT_DEVICE Pair pair_of(const RopeStoreArgs& args, int pair, int n_turning) {
    if (pair >= n_turning || args.style == RopeStyle::adjacent) return {2 * pair, 2 * pair + 1};
    return {pair, pair + n_turning};
}

}  // namespace llmcore::cuda
