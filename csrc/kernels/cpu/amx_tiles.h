// The tiles of AMX: eight of 16 rows by 64 bytes, configured for as long as a TileScope lives.
//
// GCC's tile loads say nothing of the memory they read, so the compiler may move stores across them: call
// order_memory() between writing what a tile will load and loading it.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace llmcore {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileRowBytes = 64;

// The operand of LDTILECFG. All kernels use full tiles: a product of smaller ones takes the same time.
struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

inline void order_memory() { asm volatile("" ::: "memory"); }

class TileScope {
public:
    TileScope() {
        // GCC 12 believes that only 8 of the 64 bytes are read; here all are.
        asm volatile("" : : "m"(config_));
        _tile_loadconfig(&config_);
    }
    ~TileScope() { _tile_release(); }
    TileScope(const TileScope&) = delete;
    TileScope& operator=(const TileScope&) = delete;

private:
    TileConfig config_;
};

}  // namespace
}  // namespace llmcore
