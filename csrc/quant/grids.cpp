#include "quant/grids.h"

#include "quant/grid_codes.h"

namespace llmcore {
namespace {

template <int kBits, class Vector, int kSize>
constexpr Grid<Vector, kSize> expand_codes(const std::uint16_t (&codes)[kSize], const std::uint8_t* values) {
    Grid<Vector, kSize> grid = {};
    for (int i = 0; i < kSize; ++i)
        for (int j = 0; j < static_cast<int>(sizeof(Vector)); ++j) {
            const int code = (codes[i] >> (kBits * j)) & ((1 << kBits) - 1);
            grid.values[i] |= static_cast<Vector>(values[code]) << (8 * j);
        }
    return grid;
}

template <int kBits, class Vector, int kSize>
constexpr CodedGrid<Vector, kSize> keep_codes(const std::uint16_t (&codes)[kSize],
                                              const std::uint8_t* values) {
    CodedGrid<Vector, kSize> grid = {expand_codes<kBits, Vector>(codes, values), {}};
    for (int i = 0; i < kSize; ++i) grid.codes[i] = codes[i];
    return grid;
}

constexpr std::uint8_t kValuesIQ1[] = {0, 1, 2, 0};
constexpr std::uint8_t kValuesIQ2[] = {8, 25, 43, 0};
constexpr std::uint8_t kValuesIQ3_XXS[] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::uint8_t kValuesIQ3_S[] = {1, 3, 5, 7, 9, 11, 13, 15};

}  // namespace

constexpr CodedGrid<std::uint64_t, 256> kGridIQ2_XXS =
    keep_codes<2, std::uint64_t>(kCodesIQ2_XXS, kValuesIQ2);
constexpr CodedGrid<std::uint64_t, 512> kGridIQ2_XS = keep_codes<2, std::uint64_t>(kCodesIQ2_XS, kValuesIQ2);
constexpr Grid<std::uint64_t, 1024> kGridIQ2_S = expand_codes<2, std::uint64_t>(kCodesIQ2_S, kValuesIQ2);
constexpr CodedGrid<std::uint32_t, 256> kGridIQ3_XXS =
    keep_codes<3, std::uint32_t>(kCodesIQ3_XXS, kValuesIQ3_XXS);
constexpr CodedGrid<std::uint32_t, 512> kGridIQ3_S = keep_codes<3, std::uint32_t>(kCodesIQ3_S, kValuesIQ3_S);
constexpr Grid<std::uint64_t, 2048> kGridIQ1 = expand_codes<2, std::uint64_t>(kCodesIQ1, kValuesIQ1);

}  // namespace llmcore
