// Attention alone, over caches of each format.
#pragma once

#include "cuda/device.h"

namespace llmcore::bench {

// A line for each format, number of sequences and depth. `ceiling`: bytes a second of a read-only stream.
void time_attention(const cuda::Stream& stream, int multiprocessors, double ceiling);

}  // namespace llmcore::bench
