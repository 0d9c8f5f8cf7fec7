// The kernel of gemv.h, one instance a packing.
#pragma once

#include "cuda/kernels/gemv.h"
#include "cuda/kernels/gemv_dots.h"

namespace llmcore::cuda {

constexpr int kLeastStages = 2;  // of a warp's ring
constexpr int kMostStages = 3;
// What a warp copies at a time, and how many warps a block has: so many that the least rings fit any device.
template <Packing P>
struct GemvTile {
    static constexpr int kBytes = Packed<P>::kBytes / (is_float(P) ? 2 : 1);
    static constexpr int kColumns = is_float(P) ? kTileCols / 2 : kTileCols;
    static constexpr int kFitting = 94 * 1024 / (kLeastStages * kBytes);
    static constexpr int kWarps = kFitting < 16 ? kFitting : 16;
};

// Where things lie in shared memory. Columns: activation rows that results are kept for: 1, 2, 4 or 8.
template <Packing P, int Columns>
struct GemvShared {
    int64_t ring, codes, scales, extras, partials, scratch, bytes;
    int64_t code_stride;  // of an activation row

    // A word a group and column; with one column, dp4a's: a word a group and each of the four lanes that
    // share it.
    static constexpr int kExtras = Columns == 1 ? 4 : Columns;

    SIMT_BOTH GemvShared(int m, int64_t k, int stages) {
        const int64_t padded = tiles_of(k, kTileCols) * kTileCols;
        ring = 0;
        codes = ring + int64_t{GemvTile<P>::kWarps} * stages * GemvTile<P>::kBytes;
        if (is_float(P)) {
            code_stride = padded * 4;
            scales = extras = codes + m * code_stride;
        } else {
            code_stride = padded + 16;  // rows begin in different banks
            scales = codes + m * code_stride;
            extras = scales + padded / 32 * Columns * 4;
        }
        partials = extras + (is_float(P) ? 0 : padded / group_columns<P>() * kExtras * 4);
        scratch = partials + int64_t{2} * GemvTile<P>::kWarps * 2 * kTileRows * Columns * 4;
        bytes = scratch + GemvTile<P>::kWarps * 4;
    }
};

// Where a warp's copies are: of its block's units, gate before up, every kWarps-th super-tile, counted on
// from unit to unit, so that each warp has as many.
struct GemvCursor {
    const unsigned char* base = nullptr;  // of the current tile
    const unsigned char* up_base = nullptr;
    int unit = 0;
    int k_tile = 0;
    bool in_up = false;
};

template <Packing P, int Columns>
struct Gemv {
    using Tile = GemvTile<P>;
    static constexpr int kWarps = Tile::kWarps;

    const GemvArgs& args;
    const GemvShared<P, Columns> where;
    unsigned char* shared;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int k_tiles;
    const int n_units;
    const int64_t tile_row_bytes;  // of 16 rows
    GemvCursor cursor;

    SIMT_DEVICE explicit Gemv(const GemvArgs& a)
        : args(a),
          where(a.matmul.m, a.matmul.k, a.stages),
          shared(shared_memory()),
          k_tiles(static_cast<int>(tiles_of(a.matmul.k, kTileCols)) * (kTileCols / Tile::kColumns)),
          n_units(count_units(a.matmul)),
          tile_row_bytes(static_cast<int64_t>(k_tiles) * Tile::kBytes) {}

    SIMT_DEVICE void enter_unit(int unit) {
        cursor.unit = unit;
        cursor.in_up = false;
        if (unit >= n_units) return;
        const GemvUnit found = find_unit(args.matmul, unit);
        const MatmulJob& job = args.matmul.jobs[found.job];
        cursor.base = job.weight + found.tile * tile_row_bytes;
        cursor.up_base = job.up == nullptr ? nullptr : job.up + found.tile * tile_row_bytes;
    }

    // Brings the cursor to a super-tile that is there, or beyond the last unit. A matrix may have fewer
    // super-tiles a row than there are warps: then some have none of it.
    SIMT_DEVICE void settle() {
        while (cursor.unit < n_units && cursor.k_tile >= k_tiles) {
            cursor.k_tile -= k_tiles;
            if (cursor.up_base != nullptr && !cursor.in_up)
                cursor.in_up = true;
            else
                enter_unit(cursor.unit + static_cast<int>(gridDim.x));
        }
    }
    SIMT_DEVICE const unsigned char* next_copy() const {
        return (cursor.in_up ? cursor.up_base : cursor.base) +
               static_cast<int64_t>(cursor.k_tile) * Tile::kBytes;
    }

    SIMT_DEVICE void copy_next(int stage) {
        settle();
        if (cursor.unit < n_units) {
            const unsigned char* from = next_copy();
            unsigned char* to = stage_of(stage);
#pragma unroll
            for (int piece = 0; piece < (Tile::kBytes / 16 + kWarp - 1) / kWarp; ++piece) {
                const int offset = (piece * kWarp + lane) * 16;
                if (offset < Tile::kBytes) copy_async16(to + offset, from + offset);
            }
            cursor.k_tile += kWarps;
        }
        copy_async_commit();
    }

    SIMT_DEVICE unsigned char* stage_of(int stage) const {
        return shared + where.ring + (warp * args.stages + stage) * int64_t{Tile::kBytes};
    }
    SIMT_DEVICE float* scales() const { return reinterpret_cast<float*>(shared + where.scales); }
    SIMT_DEVICE uint32_t* extras() const { return reinterpret_cast<uint32_t*>(shared + where.extras); }
    SIMT_DEVICE DotInput dot_input() const { return {shared + where.codes, scales(), extras()}; }

    // By all lanes of a warp. `sum`: of the four codes in `word`.
    SIMT_DEVICE void store_codes(int row, int column, uint32_t word, float scale, int sum) {
        if constexpr (Columns == 1) {
            store_dot_input(dot_input(), dot_traits<P>(), column, word, scale, sum);
        } else {
            constexpr DotTraits kTraits = dot_traits<P>();
            *reinterpret_cast<uint32_t*>(shared + where.codes + row * where.code_stride + column) = word;
            if (column % 32 == 0) scales()[column / 32 * Columns + row] = scale;
            const int sum16 = sum_of_16(sum);
            const int other = __shfl_xor_sync(kFullWarp, sum16, 4);
            if (column % group_columns<P>() == 0)
                extras()[column / group_columns<P>() * Columns + row] =
                    extra_of(kTraits, kTraits.group == 32 ? sum16 + other : sum16, scale);
        }
    }

    // Brings the activations to shared memory.
    SIMT_DEVICE void take_input() {
        auto* scratch = reinterpret_cast<float*>(shared + where.scratch);
        const int m = args.matmul.m;
        if constexpr (is_float(P)) {
            take_floats(scratch);
        } else if (args.packed == nullptr) {
            for (int row = 0; row < m; ++row)
                pack_row(args.input, row, scratch, [&](int column, uint32_t word, float scale, int sum) {
                    store_codes(row, column, word, scale, sum);
                });
        } else {
            const int padded = k_tiles * Tile::kColumns;
            const int64_t row_bytes = q8_row_bytes(args.matmul.k);
            for (int i = static_cast<int>(threadIdx.x); i < m * (padded / 16); i += blockDim.x) {
                const int row = i / (padded / 16);
                const int group = i % (padded / 16);
                const unsigned char* from = args.packed + row * row_bytes;
                *reinterpret_cast<uint4*>(shared + where.codes + row * where.code_stride + group * 16) =
                    *reinterpret_cast<const uint4*>(from + group * 16);
                const auto* row_scales = reinterpret_cast<const float*>(from + padded);
                const auto* sums = reinterpret_cast<const int32_t*>(from + padded + padded / 32 * 4);
                const float scale = row_scales[group / 2];
                if (group % 2 == 0) scales()[group / 2 * Columns + row] = scale;
                if constexpr (group_columns<P>() == 16) {
                    extras()[group * Columns + row] = extra_of(dot_traits<P>(), sums[group], scale);
                } else {
                    if (group % 2 == 0)
                        extras()[group / 2 * Columns + row] =
                            extra_of(dot_traits<P>(), sums[group] + sums[group + 1], scale);
                }
            }
        }
        __syncthreads();
    }

    SIMT_DEVICE void take_floats(float* scratch) {
        const PackInput& input = args.input;
        const int padded = k_tiles * Tile::kColumns;
        for (int row = 0; row < args.matmul.m; ++row) {
            const float* x = input.rows + row * input.stride;
            auto* to = reinterpret_cast<float*>(shared + where.codes + row * where.code_stride);
            float inverse = 1.0F;
            if (input.norm_weight != nullptr) {
                float sum = 0.0F;
                for (int c = static_cast<int>(threadIdx.x); c < input.k; c += blockDim.x) sum += x[c] * x[c];
                inverse =
                    1.0F / sqrtf(sum_over_block(sum, scratch) / static_cast<float>(input.k) + input.norm_eps);
            }
            for (int c = static_cast<int>(threadIdx.x); c < padded; c += blockDim.x) {
                float value = c < input.k ? x[c] : 0.0F;
                if (input.norm_weight != nullptr && c < input.k) value *= inverse * input.norm_weight[c];
                to[c] = value;
            }
        }
    }

    // Adds a super-tile's products: sums[0], [1]: row g with activation rows 2 t, 2 t + 1; [2], [3]: row g
    // + 8.
    SIMT_DEVICE void add_codes(const unsigned char* tile, int k_tile, float (&sums)[4]) const {
        const int g = lane / 4;
        const int t = lane % 4;
        const int pair = 2 * t < Columns ? 2 * t : 0;  // beyond: computed and thrown away
        const bool live = g < args.matmul.m;
        const unsigned char* row =
            shared + where.codes + (live ? g : 0) * where.code_stride + k_tile * kTileCols + 4 * t;
#pragma unroll
        for (int step = 0; step < kTileCols / 32; ++step) {
            uint32_t a[4];
            Packed<P>::codes(tile, lane, step, a);
            const uint32_t low = *reinterpret_cast<const uint32_t*>(row + 32 * step);
            const uint32_t high = *reinterpret_cast<const uint32_t*>(row + 32 * step + 16);
            const uint32_t b0 = live ? low : 0U;
            const uint32_t b1 = live ? high : 0U;
            const int group32 = k_tile * (kTileCols / 32) + step;
            const float2 scale = *reinterpret_cast<const float2*>(scales() + group32 * Columns + pair);
            if constexpr (group_columns<P>() == 32) {
                add_group(tile, step, group32, a[0], a[1], a[2], a[3], b0, b1, scale, pair, sums);
            } else {
                add_group(tile, 2 * step, 2 * group32, a[0], a[1], 0, 0, b0, 0, scale, pair, sums);
                add_group(tile, 2 * step + 1, 2 * group32 + 1, a[2], a[3], 0, 0, b1, 0, scale, pair, sums);
            }
        }
    }

    SIMT_DEVICE void add_group(const unsigned char* tile, int group_in_tile, int group, uint32_t a0,
                               uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1,
                               float2 act_scale, int pair, float (&sums)[4]) const {
        using Format = Packed<P>;
        int32_t dot[4] = {kMagicBits, kMagicBits, kMagicBits, kMagicBits};
        uint2 extra = {0, 0};
        if constexpr (Format::kHasMin || Format::kZero != 0)
            extra = *reinterpret_cast<const uint2*>(extras() + group * Columns + pair);
        if constexpr (!Format::kHasMin && Format::kZero != 0) {
            dot[0] = dot[2] = static_cast<int32_t>(extra.x);
            dot[1] = dot[3] = static_cast<int32_t>(extra.y);
        }
        mma_s8(dot, a0, a1, a2, a3, b0, b1);
        float scale[2];
        float min[2] = {0.0F, 0.0F};
        Format::scales(tile, lane, group_in_tile, scale, min);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float product = __int_as_float(dot[i]) - kMagic;
            sums[i] = fmaf(product * (i % 2 == 0 ? act_scale.x : act_scale.y), scale[i / 2], sums[i]);
            if constexpr (Format::kHasMin)
                sums[i] = fmaf(__uint_as_float(i % 2 == 0 ? extra.x : extra.y), min[i / 2], sums[i]);
        }
    }

    // As add_codes, for floats: sums[i]: row g + 8 * (i / 2), activation row i % 2, of this lane's columns
    // alone.
    SIMT_DEVICE void add_floats(const unsigned char* tile, int k_tile, float (&sums)[4]) const {
        const auto* planes = reinterpret_cast<const uint2*>(tile);
        const auto widen = [](uint32_t bits) {
            return P == Packing::f16 ? half_to_float(static_cast<uint16_t>(bits))
                                     : bf16_to_float(static_cast<uint16_t>(bits));
        };
#pragma unroll 4
        for (int slot = 0; slot < Tile::kColumns / 16; ++slot) {
            float4 x[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int row = i < args.matmul.m ? i : 0;
                x[i] = *reinterpret_cast<const float4*>(shared + where.codes + row * where.code_stride +
                                                        (k_tile * Tile::kColumns + slot * 16 + lane % 4 * 4) *
                                                            4);
            }
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint2 w = planes[(slot * 2 + half) * kWarp + lane];
                const float4 v = {widen(w.x & 0xFFFFU), widen(w.x >> 16), widen(w.y & 0xFFFFU),
                                  widen(w.y >> 16)};
#pragma unroll
                for (int i = 0; i < 2; ++i)
                    sums[half * 2 + i] += v.x * x[i].x + v.y * x[i].y + v.z * x[i].z + v.w * x[i].w;
            }
        }
    }

    SIMT_DEVICE void add_tile(const unsigned char* tile, int k_tile, float (&sums)[4]) const {
        if constexpr (is_float(P))
            add_floats(tile, k_tile, sums);
        else if constexpr (Columns == 1)
            add_dots<P>(dot_input(), tile, k_tile, sums);
        else
            add_codes(tile, k_tile, sums);
    }

    SIMT_DEVICE void store_partials(float* partials, int which, float (&sums)[4]) const {
        const int g = lane / 4;
        const int t = lane % 4;
        if constexpr (is_float(P) || Columns == 1) {
            add_over_quad(sums);
            if (t != 0) return;
        }
        if (2 * t >= Columns) return;
        float* to = partials + ((warp * 2 + which) * kTileRows + g) * Columns + 2 * t;
        to[0] = sums[0];
        to[8 * Columns] = sums[2];
        if constexpr (Columns > 1) {
            to[1] = sums[1];
            to[8 * Columns + 1] = sums[3];
        }
    }

    SIMT_DEVICE void run() {
        cursor.k_tile = warp;
        enter_unit(static_cast<int>(blockIdx.x));
        for (int stage = 0; stage < args.stages; ++stage) copy_next(stage);
        previous_kernels_done();
        take_input();
        auto* partials = reinterpret_cast<float*>(shared + where.partials);
        int stage = 0;
        int turn = 0;
        int k_tile = warp;
        for (int index = static_cast<int>(blockIdx.x); index < n_units;
             index += static_cast<int>(gridDim.x), ++turn) {
            const GemvUnit unit = find_unit(args.matmul, index);
            const int halves = args.matmul.jobs[unit.job].up == nullptr ? 1 : 2;
            float* turn_partials = partials + turn % 2 * kWarps * 2 * kTileRows * Columns;
            for (int which = 0; which < halves; ++which) {
                float sums[4] = {0.0F, 0.0F, 0.0F, 0.0F};
                for (; k_tile < k_tiles; k_tile += kWarps) {
                    if (args.stages == kMostStages)
                        copy_async_wait<kMostStages - 1>();
                    else
                        copy_async_wait<kLeastStages - 1>();
                    __syncwarp();
                    add_tile(stage_of(stage), k_tile, sums);
                    __syncwarp();
                    copy_next(stage);
                    stage = stage + 1 == args.stages ? 0 : stage + 1;
                }
                k_tile -= k_tiles;
                store_partials(turn_partials, which, sums);
            }
            __syncthreads();
            if (warp == turn % kWarps) finish_unit<kWarps, Columns>(args.matmul, turn_partials, unit);
        }
        copy_async_wait<0>();
    }
};

template <Packing P, int Columns>
SIMT_GLOBAL void SIMT_BOUNDS(GemvTile<P>::kWarps* kWarp, 1) gemv_kernel(const GemvArgs args) {
    next_kernel_may_start();
    Gemv<P, Columns>(args).run();
}

template <Packing P, int Columns>
bool gemv_fits(const DeviceLimits& limits, int rows, int64_t k, int stages = kLeastStages) {
    return GemvShared<P, Columns>(rows, k, stages).bytes <=
           static_cast<int64_t>(limits.shared_bytes_per_block);
}

template <Packing P, int Columns>
void launch_gemv(const Stream& stream, const DeviceLimits& limits, const GemvArgs& given) {
    GemvArgs args = given;
    const int m = args.matmul.m;
    args.stages = gemv_fits<P, Columns>(limits, m, args.matmul.k, kMostStages) ? kMostStages : kLeastStages;
    const int units = count_units(args.matmul);
    LaunchShape shape = {
        .grid_x = static_cast<unsigned>(units < limits.multiprocessors ? units : limits.multiprocessors),
        .threads = GemvTile<P>::kWarps * kWarp,
        .shared_bytes =
            static_cast<std::size_t>(GemvShared<P, Columns>(m, args.matmul.k, args.stages).bytes)};
    // Started early, two blocks could meet on a multiprocessor that the kernel before has left, and none come
    // to others.
    const std::size_t alone = limits.shared_bytes_per_multiprocessor / 2;
    if (shape.shared_bytes < alone && alone <= limits.shared_bytes_per_block) shape.shared_bytes = alone;
    launch(stream, gemv_kernel<P, Columns>, shape, args);
}

template <Packing P>
void gemv_of(const Stream& stream, const DeviceLimits& limits, const GemvArgs& args) {
    if (args.matmul.m == 1)
        launch_gemv<P, 1>(stream, limits, args);
    else if (args.matmul.m == 2)
        launch_gemv<P, 2>(stream, limits, args);
    if constexpr (!is_float(P)) {
        if (args.matmul.m > 4)
            launch_gemv<P, 8>(stream, limits, args);
        else if (args.matmul.m > 2)
            launch_gemv<P, 4>(stream, limits, args);
    }
}

// Rows that fit a block's shared memory.
template <Packing P>
int gemv_rows_of(const DeviceLimits& limits, int64_t k) {
    if constexpr (!is_float(P)) {
        for (int rows = kGemvRows; rows > 4; --rows)
            if (gemv_fits<P, 8>(limits, rows, k)) return rows;
        for (int rows = 4; rows > 2; --rows)
            if (gemv_fits<P, 4>(limits, rows, k)) return rows;
    }
    return gemv_fits<P, 2>(limits, 2, k) ? 2 : gemv_fits<P, 1>(limits, 1, k) ? 1 : 0;
}

}  // namespace llmcore::cuda
