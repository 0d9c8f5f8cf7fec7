// Encoders of the formats with a scale and an offset a block of 32: Q4_1, Q5_1.
#include <limits>

#include "quant/quantize_blocks.h"
#include "quant/quantize_offset.h"
#include "quant/quantize_rounding.h"

namespace llmcore {
namespace {

constexpr int kSize = 32;

struct HalfLine {
    std::uint16_t scale;
    std::uint16_t offset;
};

// Rounds the best line to halves: of the neighbours of each, the pair that leaves the least error.
template <int kHighest>
HalfLine fit_block(const float* x, const OffsetSearch& search, std::uint8_t* codes) {
    const Line wanted = best_line<kHighest, kSize>(x, std::numeric_limits<float>::infinity(), search);
    const std::uint16_t scale = nearest_finite_half(wanted.scale);
    const std::uint16_t offset = nearest_finite_half(wanted.offset);
    HalfLine best{0, 0};
    Line chosen{0.0F, 0.0F};
    float best_error = sum_of_squares(x, kSize);
    for (int s = -1; s <= 1; ++s) {
        for (int b = -1; b <= 1; ++b) {
            const HalfLine tried{step_half(scale, s), step_half(offset, b)};
            const Line line{expand_half(tried.scale), expand_half(tried.offset)};
            const float error = squared_error<kHighest, kSize>(x, line);
            if (error < best_error) {
                best = tried;
                chosen = line;
                best_error = error;
            }
        }
    }
    write_steps<kHighest, kSize>(x, chosen, codes);
    return best;
}

}  // namespace

void quantize_q4_1(const float* values, BlockQ4_1* blocks, std::int64_t n_blocks) {
    std::uint8_t codes[kSize];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const HalfLine line = fit_block<15>(values + b * kSize, {0.025F, 2, 3}, codes);
        blocks[b].d = line.scale;
        blocks[b].m = line.offset;
        for (int i = 0; i < 16; ++i)
            blocks[b].qs[i] = static_cast<std::uint8_t>(codes[i] | (codes[16 + i] << 4));
    }
}

void quantize_q5_1(const float* values, BlockQ5_1* blocks, std::int64_t n_blocks) {
    std::uint8_t codes[kSize];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const HalfLine line = fit_block<31>(values + b * kSize, {0.012F, 2, 3}, codes);
        blocks[b].d = line.scale;
        blocks[b].m = line.offset;
        std::uint32_t high = 0;
        for (int i = 0; i < kSize; ++i) high |= static_cast<std::uint32_t>(codes[i] >> 4) << i;
        for (int i = 0; i < 4; ++i) blocks[b].qh[i] = static_cast<std::uint8_t>(high >> (8 * i));
        for (int i = 0; i < 16; ++i)
            blocks[b].qs[i] = static_cast<std::uint8_t>((codes[i] & 15) | ((codes[16 + i] & 15) << 4));
    }
}

}  // namespace llmcore
