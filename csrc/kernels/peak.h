// What the peak kernels do: work of a known size that nothing but one limit of the machine holds up. POD
// only.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace llmcore {
namespace {

// A row of peak_read: so many bytes, whose 32-bit words are summed.
constexpr int64_t kPeakReadBytes = 16384;
// A row of peak_f32 and peak_int8: so many rounds, each of which adds 1 * 1 to every lane of the
// accumulators (peak_bf16: a tile's 32 products). Enough of them are independent to hide an instruction's
// latency.
constexpr int64_t kPeakRounds = 4096;

inline bool peak_supports(const Shape*) { return true; }
inline double peak_cost(const Shape* shape) { return static_cast<double>(shape->m); }

}  // namespace
}  // namespace llmcore
