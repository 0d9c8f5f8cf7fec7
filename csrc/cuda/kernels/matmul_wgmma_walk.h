// Which tiles a block of matmul_wgmma_kernel.h makes, and how it lays out its shared memory.
#pragma once

#include "cuda/kernels/matmul_bf16.h"
#include "cuda/kernels/wgmma.h"

#if defined(__CUDACC__)

namespace llmcore::cuda {

constexpr int kWgmmaChunk = 64;      // columns; 128 bytes of input, as far as a swizzle goes
constexpr int kWgmmaCopiers = 128;   // threads: a warpgroup, of which two copy
constexpr int kWgmmaTokenGroup = 8;  // token blocks of 256 that pass over the weights together

struct MatmulWgmmaArgs {
    MatmulArgs matmul;
    int32_t units;         // row blocks of all jobs
    int32_t token_blocks;  // without experts
    // Each block makes as many columns as the others, of tiles side by side; the parts of a tile meet in
    // matmul.workspace. Without experts.
    bool splits_tiles;
};

constexpr int kWgmmaRows = 128;
constexpr int kWgmmaMultipliers = 256;  // threads: two warpgroups, of 64 rows each
constexpr int kWgmmaThreads = kWgmmaCopiers + kWgmmaMultipliers;

// A block's tile is kWgmmaRows weight rows (with `up`: half as many of each matrix) by Tokens input rows.
template <Packing P, int Tokens>
struct WgmmaTile {
    // Few tokens leave room for two blocks a multiprocessor: one computes while the other waits, and the
    // blocks of the next kernel come while the last of this one add up their parts.
    static constexpr int kBlocks = Tokens <= 32 && DequantBf16<P>::kBytes <= 4352 ? 2 : 1;
    static constexpr int kMultiplierRegisters = kBlocks == 2 ? 96 : 224;
    static constexpr int kCopierRegisters = kBlocks == 2 ? 40 : 56;
    static constexpr int kBoxes = Tokens <= 64 ? 2 : 1;             // chunks that the input is copied by
    static constexpr int kPieceTokens = Tokens < 32 ? Tokens : 32;  // results in shared memory at a time
    static constexpr int kSumStride = kWgmmaRows + 4;

    // Offsets in shared memory.
    static constexpr int kMost = (kBlocks == 2 ? 113 : 227) * 1024;
    static constexpr int kBoxBytes = Tokens * kWgmmaChunk * 2;
    static constexpr int kInputBytes = kBoxes * kBoxBytes;
    static constexpr int kWeightBytes = kWgmmaRows / kTileRows * DequantBf16<P>::kBytes;
    static constexpr int kSumBytes = kPieceTokens * kSumStride * 4;
    static constexpr int kBarrierBytes = 256;
    static constexpr int kRoom = kMost - kSumBytes - kBarrierBytes;
    static constexpr int within(int value, int least, int most) {
        return value < least ? least : value < most ? value : most;
    }
    static constexpr int kWeightSlots = within((kRoom - 4 * kInputBytes) / kWeightBytes, 2, 4);
    static constexpr int kInputSlots = within((kRoom - kWeightSlots * kWeightBytes) / kInputBytes, 1, 8);
    static_assert(kInputSlots >= 2);

    static constexpr int kWeights = kInputSlots * kInputBytes;
    static constexpr int kSums = kWeights + kWeightSlots * kWeightBytes;
    static constexpr int kBarriers = kSums + kSumBytes;
    static constexpr int kBytes = kBarriers + kBarrierBytes;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// A place in a ring of Slots, and the parity of the pass over it.
template <int Slots>
struct RingPosition {
    int slot = 0;
    uint32_t parity = 0;
    SIMT_DEVICE void advance() {
        if (++slot == Slots) {
            slot = 0;
            parity ^= 1;
        }
    }
};

// Even shares of the columns of all tiles, counted in super-tiles, for the blocks of the grid.
struct ColumnShares {
    int total;  // times the blocks within 31 bits: kMostSplitTiles
    SIMT_DEVICE int begin(int block) const { return total * block / static_cast<int>(gridDim.x); }
    SIMT_DEVICE int block_of(int position) const {
        return ((position + 1) * static_cast<int>(gridDim.x) - 1) / total;
    }
};

// Gives a block its tiles in order, or parts of them; all threads walk alike.
template <int Tokens>
struct WgmmaWalk {
    const MatmulWgmmaArgs& args;
    const int k_tiles = static_cast<int>(tiles_of(args.matmul.k, kTileCols));
    const ColumnShares shares = {args.units * args.token_blocks * k_tiles};
    int index = static_cast<int>(blockIdx.x);  // of a tile; where tiles are split, of a super-tile column
    int passed = 0;                            // tiles of experts before `expert`
    int expert = 0;
    int first_token = 0;
    int end_token = 0;
    MatmulPlace place = {0, 0, 0};
    int tile = 0;
    int k_begin = 0;
    int k_end = 0;

    SIMT_DEVICE explicit WgmmaWalk(const MatmulWgmmaArgs& a) : args(a) {
        if (a.splits_tiles) index = shares.begin(static_cast<int>(blockIdx.x));
    }

    SIMT_DEVICE void enter(int tile_index, int token_blocks, int begin, int end) {
        tile = tile_index;
        place = matmul_place(args.matmul, args.units, token_blocks, tile_index, kWgmmaRows, kWgmmaTokenGroup);
        first_token = begin + place.token_block * Tokens;
        end_token = end;
        k_begin = 0;
        k_end = k_tiles;
    }

    SIMT_DEVICE bool next() {
        return args.splits_tiles                     ? next_part()
               : args.matmul.expert_begin == nullptr ? next_tile()
                                                     : next_of_experts();
    }

    SIMT_DEVICE bool is_part() const { return k_end - k_begin != k_tiles; }
    // Where the tile begins here: how many more blocks have parts of it.
    SIMT_DEVICE int blocks_after() const {
        return shares.block_of((tile + 1) * k_tiles - 1) - static_cast<int>(blockIdx.x);
    }

    SIMT_DEVICE bool next_part() {
        const int end = shares.begin(static_cast<int>(blockIdx.x) + 1);
        if (index >= end) return false;
        enter(index / k_tiles, args.token_blocks, 0, args.matmul.m);
        k_begin = index % k_tiles;
        if (end - index < k_tiles - k_begin) k_end = k_begin + end - index;
        index += k_end - k_begin;
        return true;
    }

private:
    SIMT_DEVICE bool next_tile() {
        if (index >= args.units * args.token_blocks) return false;
        enter(index, args.token_blocks, 0, args.matmul.m);
        index += static_cast<int>(gridDim.x);
        return true;
    }

    SIMT_DEVICE bool next_of_experts() {
        const MatmulArgs& m = args.matmul;
        for (;; ++expert) {
            if (expert >= m.n_experts) return false;
            const int begin = m.expert_begin[expert];
            const int end = m.expert_begin[expert + 1];
            const int token_blocks = (end - begin + Tokens - 1) / Tokens;
            const int tiles = token_blocks * args.units;
            if (index < passed + tiles) {
                enter(index - passed, token_blocks, begin, end);
                index += static_cast<int>(gridDim.x);
                return true;
            }
            passed += tiles;
        }
    }
};

#endif

}  // namespace llmcore::cuda

#endif
