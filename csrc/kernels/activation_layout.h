// How packed activation rows lie in memory. POD only.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace llmcore {
namespace {

// One scale per 32: q (int8, k of them), then d (float per 32), then dsum (float per 32: d * sum of q).
// q = round(x / d), d = max|x| / 127. Parts and rows begin at multiples of 64 bytes; k is a multiple of 32;
// what lies between a part's end and the next multiple of 64 is zero.
struct Q8x32Layout {
    int64_t d_offset, dsum_offset, row_bytes;
};

// One scale per 256: q (int8, k of them), then d (float per 256), then sums (int16 per 16: sum of q).
// k is a multiple of 256; parts and rows begin at multiples of 64 bytes.
struct Q8x256Layout {
    int64_t d_offset, sums_offset, row_bytes;
};

constexpr int64_t round_up_64(int64_t bytes) { return (bytes + 63) & ~int64_t{63}; }

constexpr Q8x32Layout q8x32_layout(int64_t k) {
    const int64_t d = round_up_64(k);
    const int64_t scales = round_up_64(k / 32 * 4);
    return {d, d + scales, d + 2 * scales};
}

constexpr Q8x256Layout q8x256_layout(int64_t k) {
    const int64_t d = round_up_64(k);
    const int64_t sums = d + round_up_64(k / 256 * 4);
    return {d, sums, sums + round_up_64(k / 16 * 2)};
}

}  // namespace
}  // namespace llmcore
