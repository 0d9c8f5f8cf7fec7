// matmul.h's product with bf16 mma, for every device: the kernel, one instance a packing and a shape.
//
// A block makes kRows weight rows (with `up`: half as many of each matrix) by kTokens input rows. Per chunk
// of 64 or 256 columns it brings the input, per 256 the super-tiles to shared memory, several chunks ahead.
// Each warp has two row tiles: neighbours, or gate and up of the same rows. Few tokens: the warps share out
// the columns of a chunk, so that a block has few rows and there are enough blocks to keep the memory busy.
#pragma once

#include "cuda/kernels/dequant_bf16.h"
#include "cuda/kernels/matmul.h"

namespace llmcore::cuda {

struct MatmulBf16Args {
    MatmulArgs matmul;
    const uint16_t* input;
    int32_t units;         // row blocks of all jobs
    int32_t token_blocks;  // of the grid; an expert with more of them takes every token_blocks-th
    int32_t ahead;         // chunks under way, up to kMostAhead
};

constexpr int kMostAhead = 8;
constexpr int kTokenBlockGroup = 16;  // token blocks that pass over the weights together

template <int Tokens, int RowWarps, int TokenWarps, int ColumnWarps, int Chunk>
struct MatmulShape {
    static constexpr int kTokens = Tokens;
    static constexpr int kRowWarps = RowWarps;
    static constexpr int kTokenWarps = TokenWarps;
    static constexpr int kColumnWarps = ColumnWarps;
    static constexpr int kChunk = Chunk;  // columns
    static constexpr int kTileChunks = kTileCols / Chunk;
    static constexpr int kChunkStride = Chunk * 2 + 16;  // bytes; rows begin in different banks
    static constexpr int kThreads = RowWarps * TokenWarps * ColumnWarps * kWarp;
    static constexpr int kBlocks = Tokens <= 32 ? 2 : 1;  // that a multiprocessor has at once
    static constexpr int kRows = RowWarps * 2 * kTileRows;
    static constexpr int kInputBytes = Tokens * kChunkStride;
    static constexpr int kSumStride = kRows + 4;  // floats; the fragments' stores meet no bank twice
    static constexpr int kWarpTokens = Tokens / TokenWarps;

    SIMT_BOTH static constexpr int input_slots(int ahead) { return ahead + 1; }
    // A slot's last chunk is read before it is filled again.
    SIMT_BOTH static constexpr int weight_slots(int ahead) {
        return (ahead + kTileChunks - 1) / kTileChunks + 1;
    }
    SIMT_BOTH static constexpr int shared_bytes(int tile_bytes, int ahead) {
        const int ring =
            input_slots(ahead) * kInputBytes + weight_slots(ahead) * (kRows / kTileRows) * tile_bytes;
        const int sums = kColumnWarps * Tokens * kSumStride * 4;
        return ring > sums ? ring : sums;
    }
};

// copy_async_wait() for a number that is not known to the compiler.
SIMT_DEVICE void wait_for_copies(int pending) {
    switch (pending) {
        case 0:
            return copy_async_wait<0>();
        case 1:
            return copy_async_wait<1>();
        case 2:
            return copy_async_wait<2>();
        case 3:
            return copy_async_wait<3>();
        case 4:
            return copy_async_wait<4>();
        case 5:
            return copy_async_wait<5>();
        case 6:
            return copy_async_wait<6>();
        default:
            return copy_async_wait<7>();
    }
}

// Where a block works: its job, its first weight row, and which token block.
struct MatmulPlace {
    int job;
    int unit;
    int token_block;
};

SIMT_BOTH int rows_of_unit(const MatmulJob& job, int block_rows) {
    return job.up == nullptr ? block_rows : block_rows / 2;
}

SIMT_BOTH int matmul_units(const MatmulArgs& args, int block_rows) {
    int units = 0;
    for (int job = 0; job < args.n_jobs; ++job)
        units += static_cast<int>(tiles_of(args.jobs[job].n, rows_of_unit(args.jobs[job], block_rows)));
    return units;
}

// Blocks that run at the same time share weights and input in the second-level cache: a few token blocks go
// through all rows together.
SIMT_DEVICE MatmulPlace matmul_place(const MatmulArgs& args, int units, int token_blocks, int index,
                                     int block_rows, int group_blocks) {
    const int first = index / (group_blocks * units) * group_blocks;
    const int size = token_blocks - first < group_blocks ? token_blocks - first : group_blocks;
    const int in_group = index - first * units;
    MatmulPlace place = {0, in_group / size, first + in_group % size};
    for (; place.job < args.n_jobs - 1; ++place.job) {
        const MatmulJob& job = args.jobs[place.job];
        const int tiles = static_cast<int>(tiles_of(job.n, rows_of_unit(job, block_rows)));
        if (place.unit < tiles) break;
        place.unit -= tiles;
    }
    return place;
}

template <Packing P, class Shape>
struct MatmulBf16 {
    using Weights = DequantBf16<P>;
    static constexpr int kTiles = Shape::kRows / kTileRows;
    static constexpr int kTokenTiles = Shape::kWarpTokens / 8;

    const MatmulBf16Args& args;
    const MatmulJob& job;
    unsigned char* shared = shared_memory();
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int column_warp = warp % Shape::kColumnWarps;
    const int token_warp = warp / Shape::kColumnWarps % Shape::kTokenWarps;
    const int row_warp = warp / Shape::kColumnWarps / Shape::kTokenWarps;
    const int k_tiles;
    const int first_row;  // of the job's rows
    const int64_t expert;
    int64_t first_token = 0;
    int64_t end_token = 0;
    float sums[2][kTokenTiles][4];

    SIMT_DEVICE MatmulBf16(const MatmulBf16Args& a, const MatmulPlace& place, int64_t expert_index)
        : args(a),
          job(a.matmul.jobs[place.job]),
          k_tiles(static_cast<int>(tiles_of(a.matmul.k, kTileCols))),
          first_row(place.unit * rows_of_unit(job, Shape::kRows)),
          expert(expert_index) {}

    SIMT_DEVICE unsigned char* input_slot(int slot) const { return shared + slot * Shape::kInputBytes; }
    SIMT_DEVICE unsigned char* weight_slot(int slot) const {
        return shared + Shape::input_slots(args.ahead) * Shape::kInputBytes + slot * kTiles * Weights::kBytes;
    }

    // The row tile of the block's tile `index`. Beyond the matrix its last one: copied, and its sums thrown
    // away.
    SIMT_DEVICE const unsigned char* tile_row(int index) const {
        const bool of_up = job.up != nullptr && index % 2 != 0;
        const int last = (job.n - 1) / kTileRows;
        int tile = first_row / kTileRows + (job.up != nullptr ? index / 2 : index);
        if (tile > last) tile = last;
        return (of_up ? job.up : job.weight) + expert * args.matmul.expert_bytes +
               static_cast<int64_t>(tile) * k_tiles * Weights::kBytes;
    }

    SIMT_DEVICE void copy_weights(int k_tile, int slot) const {
        constexpr int kPieces = Weights::kBytes / 16;
        unsigned char* const to = weight_slot(slot);
        for (int tile = warp; tile < kTiles; tile += Shape::kThreads / kWarp) {
            const unsigned char* from = tile_row(tile) + static_cast<int64_t>(k_tile) * Weights::kBytes;
#pragma unroll 4
            for (int piece = lane; piece < kPieces; piece += kWarp)
                copy_async16(to + tile * Weights::kBytes + piece * 16, from + piece * 16);
        }
    }

    SIMT_DEVICE void copy_input(int chunk, int slot) const {
        constexpr int kPieces = Shape::kChunk * 2 / 16;
        const int64_t stride = static_cast<int64_t>(k_tiles) * kTileCols;
#pragma unroll
        for (int first = 0; first < Shape::kTokens * kPieces; first += Shape::kThreads) {
            const int index = first + static_cast<int>(threadIdx.x);
            if (index >= Shape::kTokens * kPieces) break;
            const int token = index / kPieces;
            const int piece = index % kPieces;
            const bool live = first_token + token < end_token;
            const int64_t row = live ? first_token + token : first_token;
            copy_async16(input_slot(slot) + token * Shape::kChunkStride + piece * 16,
                         args.input + row * stride + chunk * Shape::kChunk + piece * 8, live ? 16 : 0);
        }
    }

    // The products of 16 columns: `a` of the warp's two row tiles with all its tokens.
    SIMT_DEVICE void multiply(const uint32_t (&a0)[4], const uint32_t (&a1)[4], const unsigned char* input,
                              int word) {
        const int token = token_warp * Shape::kWarpTokens + lane / 16 * 8 + lane % 8;
        const unsigned char* row = input + token * Shape::kChunkStride + word * 32 + lane / 8 % 2 * 16;
#pragma unroll
        for (int pair = 0; pair < kTokenTiles / 2; ++pair) {
            uint32_t b[4];
            load_matrices(b, row + pair * 16 * Shape::kChunkStride);
            mma_bf16(sums[0][2 * pair], a0[0], a0[1], a0[2], a0[3], b[0], b[1]);
            mma_bf16(sums[0][2 * pair + 1], a0[0], a0[1], a0[2], a0[3], b[2], b[3]);
            mma_bf16(sums[1][2 * pair], a1[0], a1[1], a1[2], a1[3], b[0], b[1]);
            mma_bf16(sums[1][2 * pair + 1], a1[0], a1[1], a1[2], a1[3], b[2], b[3]);
        }
    }

    SIMT_DEVICE void add_chunk(const unsigned char* weights, int chunk, const unsigned char* input) {
        const unsigned char* tile = weights + row_warp * 2 * Weights::kBytes;
        constexpr int kSteps = Shape::kChunk / 32;
#pragma unroll
        for (int i = 0; i < kSteps / Shape::kColumnWarps; ++i) {
            const int step = i * Shape::kColumnWarps + column_warp;
            uint32_t a[2][2][4];
            Weights::step32(tile, lane, chunk * kSteps + step, a[0]);
            Weights::step32(tile + Weights::kBytes, lane, chunk * kSteps + step, a[1]);
            multiply(a[0][0], a[1][0], input, step * 2);
            multiply(a[0][1], a[1][1], input, step * 2 + 1);
        }
    }

    // Sums for the tokens from first_token. `fresh`: the first of the block, before which earlier kernels may
    // run.
    SIMT_DEVICE void add_all(bool fresh) {
#pragma unroll
        for (int i = 0; i < 2 * kTokenTiles * 4; ++i)
            sums[i / 4 / kTokenTiles][i / 4 % kTokenTiles][i % 4] = 0.0F;
        constexpr int kTileChunks = Shape::kTileChunks;
        const int chunks = k_tiles * kTileChunks;
        const int input_slots = Shape::input_slots(args.ahead);
        const int weight_slots = Shape::weight_slots(args.ahead);
        int fill_input = 0;
        int fill_weights = 0;
        const auto fill = [&](int chunk) {
            if (chunk % kTileChunks == 0) {
                if (chunk < chunks) copy_weights(chunk / kTileChunks, fill_weights);
                if (++fill_weights == weight_slots) fill_weights = 0;
            }
            // No other kernel makes weights: the first of them need not wait.
            if (fresh) previous_kernels_done();
            fresh = false;
            if (chunk < chunks) copy_input(chunk, fill_input);
            if (++fill_input == input_slots) fill_input = 0;
            copy_async_commit();
        };
        for (int chunk = 0; chunk < args.ahead; ++chunk) fill(chunk);
        int slot = 0;
        int weights = 0;
        for (int chunk = 0; chunk < chunks; ++chunk) {
            wait_for_copies(args.ahead - 1);
            __syncthreads();
            fill(chunk + args.ahead);
            add_chunk(weight_slot(weights), chunk % kTileChunks, input_slot(slot));
            if (++slot == input_slots) slot = 0;
            if (chunk % kTileChunks == kTileChunks - 1 && ++weights == weight_slots) weights = 0;
        }
        copy_async_wait<0>();
        __syncthreads();
    }

    SIMT_DEVICE void store_sums() const {
        const int g = lane / 4;
        const int t = lane % 4;
        auto* to =
            reinterpret_cast<float*>(shared) +
            (column_warp * Shape::kTokens + token_warp * Shape::kWarpTokens + 2 * t) * Shape::kSumStride +
            row_warp * 2 * kTileRows + g;
#pragma unroll
        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
            for (int j = 0; j < kTokenTiles; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    to[(8 * j + i % 2) * Shape::kSumStride + tile * kTileRows + i / 2 * 8] = sums[tile][j][i];
        __syncthreads();
    }

    SIMT_DEVICE float sum_of(int token, int row) const {
        const auto* from = reinterpret_cast<const float*>(shared) + token * Shape::kSumStride + row;
        float sum = from[0];
#pragma unroll
        for (int i = 1; i < Shape::kColumnWarps; ++i) sum += from[i * Shape::kTokens * Shape::kSumStride];
        return sum;
    }

    SIMT_DEVICE void write_out() const {
        const bool has_up = job.up != nullptr;
        const int rows = rows_of_unit(job, Shape::kRows);
        const int64_t live = end_token - first_token;
        const int tokens = live < Shape::kTokens ? static_cast<int>(live) : Shape::kTokens;
        for (int i = static_cast<int>(threadIdx.x); i < tokens * rows; i += Shape::kThreads) {
            const int token = i / rows;
            const int row = i % rows;
            if (first_row + row >= job.n) continue;
            const int in_block = has_up ? row / kTileRows * 2 * kTileRows + row % kTileRows : row;
            const float sum = sum_of(token, in_block);
            const float up_sum = has_up ? sum_of(token, in_block + kTileRows) : 0.0F;
            const int64_t out_row = first_token + token;
            store_result(job, out_row, first_row + row,
                         finish(job, out_row, first_row + row, expert * job.bias_stride, sum, up_sum));
        }
        __syncthreads();  // before the ring is filled again
    }
};

template <Packing P, class Shape>
SIMT_GLOBAL void SIMT_BOUNDS(Shape::kThreads, Shape::kBlocks) matmul_bf16_kernel(const MatmulBf16Args args) {
    next_kernel_may_start();
    const MatmulPlace place = matmul_place(args.matmul, args.units, args.token_blocks,
                                           static_cast<int>(blockIdx.x), Shape::kRows, kTokenBlockGroup);
    MatmulBf16<P, Shape> product(args, place, blockIdx.z);
    int64_t begin = 0;
    int64_t end = args.matmul.m;
    bool fresh = true;
    if (args.matmul.expert_begin != nullptr) {
        previous_kernels_done();  // the segments are another kernel's
        fresh = false;
        begin = args.matmul.expert_begin[blockIdx.z];
        end = args.matmul.expert_begin[blockIdx.z + 1];
    }
    product.end_token = end;
    const int64_t stride = static_cast<int64_t>(args.token_blocks) * Shape::kTokens;
    for (int64_t token = begin + static_cast<int64_t>(place.token_block) * Shape::kTokens; token < end;
         token += stride) {
        product.first_token = token;
        product.add_all(fresh);
        fresh = false;
        product.store_sums();
        product.write_out();
    }
}

}  // namespace llmcore::cuda
