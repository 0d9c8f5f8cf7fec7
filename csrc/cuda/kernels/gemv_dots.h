// Parts of the products with few rows of int8 activations that several kernels have: what a block keeps of
// one row, its dp4a products with a super-tile, and the end of 16 weight rows.
#pragma once

#include "cuda/kernels/gemv.h"
#include "cuda/packed/all.h"
#include "cuda/packed/planes.h"

namespace llmcore::cuda {

constexpr int32_t kMagicBits = 0x4B400000;  // 1.5 * 2^23: integers added to it are floats at once
constexpr float kMagic = 12582912.0F;

SIMT_BOTH constexpr bool is_float(Packing packing) {
    return packing == Packing::f16 || packing == Packing::bf16;
}

template <Packing P>
SIMT_BOTH constexpr int group_columns() {
    if constexpr (is_float(P))
        return 32;
    else
        return Packed<P>::kGroup;
}

// How a packing wants a row of activations.
struct DotTraits {
    int32_t group;  // columns that share a scale
    int32_t zero;   // of the weights' codes
    bool has_min;
};

template <Packing P>
SIMT_BOTH constexpr DotTraits dot_traits() {
    if constexpr (is_float(P))
        return {32, 0, false};
    else
        return {Packed<P>::kGroup, Packed<P>::kZero, Packed<P>::kHasMin};
}

// What the format needs of a group's sum of codes: the start of the integer sum, or scale * sum for minimums.
SIMT_DEVICE uint32_t extra_of(const DotTraits& traits, int sum, float scale) {
    if (traits.has_min) return __float_as_uint(static_cast<float>(sum) * scale);
    return static_cast<uint32_t>(kMagicBits - traits.zero * sum);
}

// A row in shared memory, as add_dots() wants it: what a lane reads of a super-tile lies together.
struct DotInput {
    unsigned char* codes;  // int8: of 64 columns, 16 for each of the four lanes that share them
    float* scales;         // of 32 columns
    uint32_t* extras;      // of a super-tile's groups, for each of those four lanes
};

// By all lanes of a warp, whose columns are next to each other. `sum`: of the four codes in `word`.
SIMT_DEVICE void store_dot_input(const DotInput& input, const DotTraits& traits, int column, uint32_t word,
                                 float scale, int sum) {
    const bool is_wide = traits.group == 32;
    const int t = column % 16 / 4;
    *reinterpret_cast<uint32_t*>(input.codes + column / 64 * 64 + t * 16 + column % 64 / 16 * 4) = word;
    if (column % 32 == 0) input.scales[column / 32] = scale;
    const int other = __shfl_xor_sync(kFullWarp, sum, 4);
    const int groups = kTileCols / traits.group;
    if (!is_wide || column % 32 < 16)
        input.extras[(column / kTileCols * 4 + t) * groups + column % kTileCols / traits.group] =
            extra_of(traits, is_wide ? sum + other : sum, scale);
}

SIMT_DEVICE int dot4(uint32_t codes, uint32_t activations, int start) {
    return __dp4a(static_cast<int>(codes), static_cast<int>(activations), start);
}
template <Packing P>
SIMT_DEVICE int dot_start(uint32_t extra) {
    return Packed<P>::kHasMin ? kMagicBits : static_cast<int>(extra);
}

// The weights' scales in a super-tile for a lane's two rows.
template <Packing P>
struct TileScales {
    const unsigned char* tile;
    int lane;
    SIMT_DEVICE TileScales(const unsigned char* t, int l) : tile(t), lane(l) {}
    SIMT_DEVICE void get(int group, float (&scale)[2], float (&min)[2]) const {
        Packed<P>::scales(tile, lane, group, scale, min);
    }
};
// float16 [16 rows][8 groups]: a row is one load.
template <int Offset>
struct HalfTileScales {
    uint4 rows[2];
    SIMT_DEVICE HalfTileScales(const unsigned char* tile, int lane) {
        rows[0] = reinterpret_cast<const uint4*>(tile + Offset)[lane / 4];
        rows[1] = reinterpret_cast<const uint4*>(tile + Offset)[lane / 4 + 8];
    }
    SIMT_DEVICE void get(int group, float (&scale)[2], float (&)[2]) const {
        for (int i = 0; i < 2; ++i) {
            const uint4& row = rows[i];
            const uint32_t pair = group < 2 ? row.x : group < 4 ? row.y : group < 6 ? row.z : row.w;
            scale[i] = half_to_float(static_cast<uint16_t>(pair >> group % 2 * 16 & 0xFFFFU));
        }
    }
};
template <>
struct TileScales<Packing::q4_0> : HalfTileScales<kNibblePlane> {
    using HalfTileScales::HalfTileScales;
};
template <>
struct TileScales<Packing::q8_0> : HalfTileScales<kBytePlane> {
    using HalfTileScales::HalfTileScales;
};

template <Packing P>
SIMT_DEVICE void add_dot(const TileScales<P>& of_tile, int group, int dot0, int dot1, float act_scale,
                         uint32_t extra, float (&sums)[4]) {
    float scale[2];
    float min[2] = {0.0F, 0.0F};
    of_tile.get(group, scale, min);
    sums[0] = fmaf((__int_as_float(dot0) - kMagic) * act_scale, scale[0], sums[0]);
    sums[2] = fmaf((__int_as_float(dot1) - kMagic) * act_scale, scale[1], sums[2]);
    if constexpr (Packed<P>::kHasMin) {
        sums[0] = fmaf(__uint_as_float(extra), min[0], sums[0]);
        sums[2] = fmaf(__uint_as_float(extra), min[1], sums[2]);
    }
}

// Adds a super-tile's products with the row, of this lane's columns alone: sums[0]: weight row g, sums[2]:
// row g + 8.
template <Packing P>
SIMT_DEVICE void add_dots(const DotInput& input, const unsigned char* tile, int k_tile, float (&sums)[4]) {
    constexpr int kGroups = kTileCols / group_columns<P>();
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int t = lane % 4;
    const auto* codes = reinterpret_cast<const uint4*>(input.codes + k_tile * kTileCols) + t;
    const auto* scales = reinterpret_cast<const float4*>(input.scales + k_tile * (kTileCols / 32));
    const auto* extras = reinterpret_cast<const uint4*>(input.extras + (k_tile * 4 + t) * kGroups);
    const TileScales<P> of_tile(tile, lane);
#pragma unroll
    for (int pair = 0; pair < kTileCols / 128; ++pair) {
        const float4 four_scales = scales[pair];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int step = 4 * pair + i;
            uint32_t a[4];
            Packed<P>::codes(tile, lane, step, a);
            const uint4 x = codes[step / 2 * 4];
            const uint32_t low = step % 2 == 0 ? x.x : x.z;
            const uint32_t high = step % 2 == 0 ? x.y : x.w;
            const float act_scale = i == 0   ? four_scales.x
                                    : i == 1 ? four_scales.y
                                    : i == 2 ? four_scales.z
                                             : four_scales.w;
            if constexpr (kGroups == 8) {
                const uint4 e = extras[pair];
                const uint32_t extra = i == 0 ? e.x : i == 1 ? e.y : i == 2 ? e.z : e.w;
                const int start = dot_start<P>(extra);
                add_dot<P>(of_tile, step, dot4(a[2], high, dot4(a[0], low, start)),
                           dot4(a[3], high, dot4(a[1], low, start)), act_scale, extra, sums);
            } else {
                const uint4 e = extras[step / 2];
                const uint32_t first = i % 2 == 0 ? e.x : e.z;
                const uint32_t second = i % 2 == 0 ? e.y : e.w;
                add_dot<P>(of_tile, 2 * step, dot4(a[0], low, dot_start<P>(first)),
                           dot4(a[1], low, dot_start<P>(first)), act_scale, first, sums);
                add_dot<P>(of_tile, 2 * step + 1, dot4(a[2], high, dot_start<P>(second)),
                           dot4(a[3], high, dot_start<P>(second)), act_scale, second, sums);
            }
        }
    }
}

// Over the four lanes that have columns of the same weight rows.
SIMT_DEVICE void add_over_quad(float (&sums)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        sums[i] += __shfl_xor_sync(kFullWarp, sums[i], 1);
        sums[i] += __shfl_xor_sync(kFullWarp, sums[i], 2);
    }
}

struct GemvUnit {
    int job;
    int tile;  // of 16 rows
};

SIMT_DEVICE GemvUnit find_unit(const MatmulArgs& args, int unit) {
    int job = 0;
    for (; job < args.n_jobs - 1; ++job) {
        const int tiles = (args.jobs[job].n + kTileRows - 1) / kTileRows;
        if (unit < tiles) break;
        unit -= tiles;
    }
    return {job, unit};
}

SIMT_BOTH int count_units(const MatmulArgs& args) {
    int units = 0;
    for (int job = 0; job < args.n_jobs; ++job) units += (args.jobs[job].n + kTileRows - 1) / kTileRows;
    return units;
}

// One warp adds up what all warps have, [warp][gate, up][16][Columns], and writes the results.
template <int Warps, int Columns>
SIMT_DEVICE void finish_unit(const MatmulArgs& args, const float* partials, const GemvUnit& unit) {
    const MatmulJob& job = args.jobs[unit.job];
    for (int i = static_cast<int>(threadIdx.x) % kWarp; i < kTileRows * args.m; i += kWarp) {
        const int row = i / kTileRows;
        const int in_tile = i % kTileRows;
        const int column = unit.tile * kTileRows + in_tile;
        if (column >= job.n) continue;
        float sum = 0.0F;
        float up_sum = 0.0F;
#pragma unroll
        for (int w = 0; w < Warps; ++w) {
            sum += partials[(w * 2 * kTileRows + in_tile) * Columns + row];
            if (job.up != nullptr) up_sum += partials[((w * 2 + 1) * kTileRows + in_tile) * Columns + row];
        }
        job.out[static_cast<int64_t>(row) * job.out_stride + column] =
            finish(job, row, column, 0, sum, up_sum);
    }
}

}  // namespace llmcore::cuda
