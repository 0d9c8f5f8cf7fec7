// Encoders of the formats with one scale a block of 32: Q4_0, Q5_0, Q8_0, IQ4_NL.
#include "quant/quantize_blocks.h"
#include "quant/quantize_scale.h"

namespace llmcore {
namespace {

constexpr int kSize = 32;

// Returns the scale as a half and writes the codes.
template <typename Levels>
std::uint16_t fit_block(const float* x, const ScaleSearch& search, std::uint8_t* codes) {
    const float largest = max_magnitude(x, kSize);
    std::uint16_t half = 0;
    if (largest > kSmallestMagnitude)
        half = best_half<Levels, kSize>(x, best_scale<Levels, kSize>(x, largest, search));
    write_codes<Levels, kSize>(x, expand_half(half), codes);
    return half;
}

// The errors of 8-bit levels are too small beside the values for best_scale()'s sums.
template <typename Levels>
float least_error_scale(const float* x, float largest, const ScaleSearch& search) {
    float best_error = sum_of_squares(x, kSize);
    float best = 0.0F;
    for (int step = 0; step <= search.steps; ++step) {
        for (int side = -1; side <= 1; side += 2) {
            const float scale = static_cast<float>(side) * largest / search.reach(step);
            const float error = squared_error<Levels, kSize>(x, scale);
            if (error < best_error) {
                best_error = error;
                best = scale;
            }
        }
    }
    return best;
}

void pack_nibbles(const std::uint8_t* codes, std::uint8_t* qs) {
    for (int i = 0; i < 16; ++i)
        qs[i] = static_cast<std::uint8_t>((codes[i] & 15) | ((codes[16 + i] & 15) << 4));
}

}  // namespace

void quantize_q4_0(const float* values, BlockQ4_0* blocks, std::int64_t n_blocks) {
    std::uint8_t codes[kSize];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        blocks[b].d = fit_block<IntegerLevels<-8, 7>>(values + b * kSize, {6.0F, 8.8F, 7, 2}, codes);
        pack_nibbles(codes, blocks[b].qs);
    }
}

void quantize_q5_0(const float* values, BlockQ5_0* blocks, std::int64_t n_blocks) {
    std::uint8_t codes[kSize];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        blocks[b].d = fit_block<IntegerLevels<-16, 15>>(values + b * kSize, {13.0F, 16.6F, 9, 2}, codes);
        pack_nibbles(codes, blocks[b].qs);
        std::uint32_t high = 0;
        for (int i = 0; i < kSize; ++i) high |= static_cast<std::uint32_t>(codes[i] >> 4) << i;
        for (int i = 0; i < 4; ++i) blocks[b].qh[i] = static_cast<std::uint8_t>(high >> (8 * i));
    }
}

void quantize_q8_0(const float* values, BlockQ8_0* blocks, std::int64_t n_blocks) {
    std::uint8_t codes[kSize];
    using Levels = IntegerLevels<-128, 127>;
    constexpr ScaleSearch kSearch{127.0F, 128.5F, 3, 0};
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const float* x = values + b * kSize;
        const float largest = max_magnitude(x, kSize);
        const float scale =
            largest > kSmallestMagnitude ? least_error_scale<Levels>(x, largest, kSearch) : 0.0F;
        blocks[b].d = best_half<Levels, kSize>(x, scale);
        write_codes<Levels, kSize>(x, expand_half(blocks[b].d), codes);
        for (int i = 0; i < kSize; ++i) blocks[b].qs[i] = static_cast<std::int8_t>(codes[i] - 128);
    }
}

void quantize_iq4_nl(const float* values, BlockIQ4_NL* blocks, std::int64_t n_blocks) {
    std::uint8_t codes[kSize];
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        blocks[b].d = fit_block<NonlinearLevels>(values + b * kSize, {95.0F, 135.0F, 7, 2}, codes);
        pack_nibbles(codes, blocks[b].qs);
    }
}

}  // namespace llmcore
