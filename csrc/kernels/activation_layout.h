// How packed activation rows lie in memory. POD only.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace llmcore {
namespace {

// One scale per 32: q (int8, k of them), then d (float per 32), then dsum (float per 32: d * sum of q), then
// sums (int16 per 16: sum of q). Parts and rows begin at multiples of 64 bytes; k is a multiple of 32; what
// lies between a part's end and the next multiple of 64 is zero.
//
// q = round(x / scale), |q| <= 127, with the one of a few scales from max|x| / 127 up that has the least
// squared error, and then d = sum(x q) / sum(q q), which is the best for these q. A group of zeros, or too
// small for 127 / max|x| to be finite, becomes zeros; one that holds an infinity or a NaN gets d = NaN and
// zeros, so that what it touches is visibly not a number.
struct Q8x32Layout {
    int64_t d_offset, dsum_offset, sums_offset, row_bytes;
};

// The scales tried: these times max|x| / 127. Rounding errors of neighbours are nearly independent and a
// larger step costs little, so that with the last correction the squared error is a fifth less than with one
// scale.
constexpr int kPackScales = 8;
constexpr float kPackFactors[kPackScales] = {1.0F, 1.008F, 1.016F, 1.024F, 1.032F, 1.04F, 1.048F, 1.056F};
constexpr uint32_t kPackSmallest = 0x03800000;  // 2^-120 as bits
constexpr uint32_t kPackInfinity = 0x7F800000;

constexpr int64_t round_up_64(int64_t bytes) { return (bytes + 63) & ~int64_t{63}; }

constexpr Q8x32Layout q8x32_layout(int64_t k) {
    const int64_t d = round_up_64(k);
    const int64_t scales = round_up_64(k / 32 * 4);
    const int64_t sums = d + 2 * scales;
    return {d, d + scales, sums, sums + round_up_64(k / 16 * 2)};
}

// bf16 in the order of AMX's second operand, 32 rows (a group) together: for each 32 columns two tiles of 16
// rows, in a tile for each two columns the rows' pairs. Columns up to the next multiple of 32 are zero; rows
// up to the next multiple of 32 have memory, whatever is in it.
//
// Values are rounded to nearest, ties to even; subnormal ones become zero, because AMX takes them for it.
constexpr int64_t kBf16GroupRows = 32;
constexpr int64_t kBf16StepBytes = 2 * 32 * kBf16GroupRows;  // of 32 columns

// A row's share of its group. Groups a multiple of 128 KB apart would compete for the same sets of a second
// level cache of 2 MB.
constexpr int64_t bf16_x32_row_bytes(int64_t k) {
    const int64_t columns = (k + 31) & ~int64_t{31};
    return 2 * columns + (columns % 2048 == 0 ? 2048 : 0);
}

constexpr int64_t bf16_x32_offset(int64_t row, int64_t column, int64_t row_bytes) {
    return row / kBf16GroupRows * kBf16GroupRows * row_bytes + column / 32 * kBf16StepBytes +
           row % kBf16GroupRows / 16 * (kBf16StepBytes / 2) + column % 32 / 2 * 64 + row % 16 * 4 +
           column % 2 * 2;
}

}  // namespace
}  // namespace llmcore
