// The tiles' own meaning, on operands small enough to know the result.
#include <cmath>
#include <limits>

#include "harness.h"
#include "isa_emulation/avx512_vector.h"
#include "isa_emulation/tiles.h"

namespace llmcore::test {

namespace {

struct Configuration {
    std::uint8_t bytes[64] = {1};

    void shape(int tile, int rows, int row_bytes) {
        bytes[48 + tile] = static_cast<std::uint8_t>(rows);
        bytes[16 + 2 * tile] = static_cast<std::uint8_t>(row_bytes);
    }
};

std::uint16_t bf16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<std::uint16_t>(bits >> 16);
}

// The sum of one row of two pairs against one column of two pairs.
float product(float start, const float (&row)[4], const float (&column)[4]) {
    Configuration configuration;
    configuration.shape(0, 1, 4);
    configuration.shape(1, 1, 8);
    configuration.shape(2, 2, 4);
    std::uint16_t a[4];
    std::uint16_t b[4];
    for (int i = 0; i < 4; ++i) {
        a[i] = bf16(row[i]);
        b[i] = bf16(column[i]);
    }
    _tile_loadconfig(configuration.bytes);
    _tile_loadd(0, &start, 4);
    _tile_loadd(1, a, 8);
    _tile_stream_loadd(2, b, 4);
    _tile_dpbf16ps(0, 1, 2);
    float result = 0;
    _tile_stored(0, &result, 4);
    _tile_release();
    return result;
}

}  // namespace

LLMCORE_TEST(emulated_tiles_multiply_bf16) {
    CHECK(product(1.0F, {1, 2, 3, 4}, {5, 6, 7, 8}) == 71.0F);
    // Even columns are summed first, odd ones beside them: 2^24 + 1 is lost only where both meet.
    CHECK(product(0.0F, {16777216.0F, 1, 1, -1}, {1, 1, 1, 1}) == 16777216.0F);
    CHECK(product(0.0F, {16777216.0F, 1, -16777216.0F, 1}, {1, 1, 1, 1}) == 2.0F);
    CHECK(std::isnan(product(0.0F, {INFINITY, 0, 0, 0}, {0, 0, 0, 0})));
    // Subnormal operands and results are zero.
    const float smallest = std::numeric_limits<float>::min();
    CHECK(product(0.0F, {smallest / 2, 0, 0, 0}, {1024, 0, 0, 0}) == 0.0F);
    CHECK(product(0.0F, {smallest, 0, 0, 0}, {0.5F, 0, 0, 0}) == 0.0F);
    CHECK(product(smallest / 2, {0, 0, 0, 0}, {0, 0, 0, 0}) == 0.0F);
    CHECK(product(0.0F, {smallest, 0, 0, 0}, {2, 0, 0, 0}) == 2 * smallest);
}

LLMCORE_TEST(emulated_tiles_multiply_bytes) {
    Configuration configuration;
    configuration.shape(0, 2, 8);
    configuration.shape(1, 2, 8);
    configuration.shape(2, 2, 8);
    // Rows of `a`, and columns of four of `b`, with their highest bit set or not.
    const std::uint8_t a[2][8] = {{1, 2, 3, 4, 5, 6, 7, 8}, {255, 255, 255, 255, 0, 0, 0, 1}};
    const std::uint8_t b[2][8] = {{1, 1, 1, 1, 200, 0, 0, 0}, {1, 1, 1, 1, 0, 0, 0, 200}};
    const auto result = [&](auto multiply) {
        std::int32_t sum[2][2] = {{1000, 0}, {0, 0}};
        _tile_loadconfig(configuration.bytes);
        _tile_loadd(0, sum, 8);
        _tile_loadd(1, a, 8);
        _tile_loadd(2, b, 8);
        multiply();
        _tile_stored(0, sum, 8);
        _tile_zero(0);
        _tile_release();
        return std::vector<std::int32_t>{sum[0][0], sum[0][1], sum[1][0], sum[1][1]};
    };
    using Sums = std::vector<std::int32_t>;
    CHECK((result([] { _tile_dpbuud(0, 1, 2); }) == Sums{1036, 1800, 1021, 51200}));
    CHECK((result([] { _tile_dpbusd(0, 1, 2); }) == Sums{1036, -504, 1021, -14336}));
    CHECK((result([] { _tile_dpbsud(0, 1, 2); }) == Sums{1036, 1800, -3, 0}));
    CHECK((result([] { _tile_dpbssd(0, 1, 2); }) == Sums{1036, -504, -3, 0}));
}

}  // namespace llmcore::test
