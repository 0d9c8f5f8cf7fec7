// Products of bf16 tiles with AMX.
#include "kernels/cpu/amx_tiles.h"
#include "kernels/peak.h"

namespace llmcore {
namespace {

struct alignas(64) Tile {
    uint16_t words[kTileRows][kTileRowBytes / 2];
};

struct alignas(64) Sums {
    float of[4][kTileRows][kTileRowBytes / 4];
};

void run(const Args* base, int64_t row_begin, int64_t row_end, void*) {
    const PeakArgs& args = *static_cast<const PeakArgs*>(base);
    Tile ones;
    for (auto& row : ones.words)
        for (uint16_t& word : row) word = 0x3F80;  // 1
    Sums sums;
    const TileScope scope;
    for (int64_t row = row_begin; row < row_end; ++row) {
        order_memory();
        _tile_loadd(4, ones.words, kTileRowBytes);
        _tile_loadd(5, ones.words, kTileRowBytes);
        _tile_loadd(6, ones.words, kTileRowBytes);
        _tile_loadd(7, ones.words, kTileRowBytes);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t round = 0; round < kPeakRounds; ++round) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(0, sums.of[0], kTileRowBytes);
        _tile_stored(1, sums.of[1], kTileRowBytes);
        _tile_stored(2, sums.of[2], kTileRowBytes);
        _tile_stored(3, sums.of[3], kTileRowBytes);
        float result = 0;
        for (const auto& tile : sums.of)
            for (const auto& line : tile)
                for (const float sum : line) result += sum;
        args.out[row] = result;
    }
}

}  // namespace

extern constinit const Kernel peak_bf16_amx = {
    .name = "peak_bf16_amx",
    .op = Op::peak,
    .weight_format = Format::none,
    .weight_layout = Layout::none,
    .act_layout = Layout::none,
    .out_layout = Layout::f32,
    .isa = Isa::amx,
    .supports = peak_supports,
    .cost = peak_cost,
    .workspace_bytes = nullptr,
    .run = run,
};

}  // namespace llmcore
