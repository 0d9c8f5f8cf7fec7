// The kernel of matmul_wgmma.h. Blocks stay, and take one tile (matmul_wgmma_walk.h) after another. One
// thread copies super-tiles and one the input to shared memory, as far ahead as there is room, also into the
// next tile; two warpgroups bring the weights to bf16 in registers, which is where wgmma takes its
// left operand from, one chunk of 64 columns ahead of the products.
#pragma once

#include "cuda/kernels/matmul_wgmma_join.h"

#if defined(__CUDACC__)

namespace llmcore::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// store_result() for four weight rows from a multiple of 4 on, of which `out` has whole vectors.
SIMT_DEVICE void store_four(const MatmulJob& job, int64_t row, int column, float4 value) {
    if (job.packed_out == nullptr) {
        *reinterpret_cast<float4*>(job.out + row * job.out_stride + column) = value;
        return;
    }
    uint16_t* const to = job.packed_out + row * job.n + permuted_column(column);
    *reinterpret_cast<uint32_t*>(to) = pack_bf16x2(value.x, value.y);
    *reinterpret_cast<uint32_t*>(to + 8) = pack_bf16x2(value.z, value.w);
}

// finish() for four weight rows side by side, `live` of them there, from their sums in shared memory; the two
// usual cases without its branches.
SIMT_DEVICE void finish_four(const MatmulJob& job, int64_t row, int column, int64_t bias_offset,
                             const float* sums, const float* ups, int live) {
    const bool common = job.bias == nullptr && job.up_bias == nullptr && job.up_sums == nullptr &&
                        job.gate == nullptr && job.softcap == 0.0F && live == 4 && job.out_stride % 4 == 0 &&
                        reinterpret_cast<uintptr_t>(job.out) % 16 == 0;
    const float4 sum = *reinterpret_cast<const float4*>(sums);
    if (common && job.activation == Activation::none && job.up == nullptr) {
        float4 r = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
        if (job.residual != nullptr)
            r = *reinterpret_cast<const float4*>(job.residual + row * job.out_stride + column);
        store_four(job, row, column, make_float4(sum.x + r.x, sum.y + r.y, sum.z + r.z, sum.w + r.w));
    } else if (common && job.activation == Activation::silu && job.up != nullptr && job.residual == nullptr) {
        const float4 up = *reinterpret_cast<const float4*>(ups);
        const auto gated = [](float g, float u) { return __fdividef(g, 1.0F + __expf(-g)) * u; };
        store_four(
            job, row, column,
            make_float4(gated(sum.x, up.x), gated(sum.y, up.y), gated(sum.z, up.z), gated(sum.w, up.w)));
    } else {
#pragma unroll 1
        for (int i = 0; i < live; ++i)
            store_result(
                job, row, column + i,
                finish(job, row, column + i, bias_offset, sums[i], job.up != nullptr ? ups[i] : 0.0F));
    }
}

template <Packing P, int Tokens>
struct MatmulWgmma {
    using Where = WgmmaTile<P, Tokens>;
    using Walk = WgmmaWalk<Tokens>;
    using Weights = DequantBf16<P>;
    static constexpr bool kJoins = Tokens <= 128;
    static constexpr int kTiles = kWgmmaRows / kTileRows;
    using InputRing = RingPosition<Where::kInputSlots>;
    using WeightRing = RingPosition<Where::kWeightSlots>;

    const MatmulWgmmaArgs& args;
    unsigned char* const shared = shared_memory();
    const int k_tiles = static_cast<int>(tiles_of(args.matmul.k, kTileCols));

    SIMT_DEVICE explicit MatmulWgmma(const MatmulWgmmaArgs& a) : args(a) {}

    SIMT_DEVICE uint64_t* barriers() const { return reinterpret_cast<uint64_t*>(shared + Where::kBarriers); }
    SIMT_DEVICE uint64_t* input_full(int slot) const { return barriers() + slot; }
    SIMT_DEVICE uint64_t* input_empty(int slot) const { return barriers() + Where::kInputSlots + slot; }
    SIMT_DEVICE uint64_t* weights_full(int slot) const { return barriers() + 2 * Where::kInputSlots + slot; }
    SIMT_DEVICE uint64_t* weights_empty(int slot) const {
        return barriers() + 2 * Where::kInputSlots + Where::kWeightSlots + slot;
    }
    SIMT_DEVICE unsigned char* input_slot(int slot) const { return shared + slot * Where::kInputBytes; }
    SIMT_DEVICE unsigned char* weight_slot(int slot) const {
        return shared + Where::kWeights + slot * Where::kWeightBytes;
    }

    SIMT_DEVICE void make_barriers() const {
        static_assert((2 * Where::kInputSlots + 2 * Where::kWeightSlots) * 8 <= Where::kBarrierBytes);
        if (threadIdx.x == 0) {
            for (int i = 0; i < Where::kInputSlots; ++i) {
                barrier_init(input_full(i), 1);
                barrier_init(input_empty(i), kWgmmaMultipliers / kWarp);
            }
            for (int i = 0; i < Where::kWeightSlots; ++i) {
                barrier_init(weights_full(i), 1);
                barrier_init(weights_empty(i), kWgmmaMultipliers / kWarp);
            }
            barrier_init_done();
        }
        __syncthreads();
    }

    // By a warp: a lane a row tile.
    SIMT_DEVICE void copy_weights() const {
        // Weights are no other kernel's work, experts' segments are.
        if (args.matmul.expert_begin != nullptr) previous_kernels_done();
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        Walk walk(args);
        WeightRing ring;
        while (walk.next()) {
            const MatmulJob& job = args.matmul.jobs[walk.place.job];
            const int last = (job.n - 1) / kTileRows;
            const int first = walk.place.unit * (rows_of_unit(job, kWgmmaRows) / kTileRows);
            // With `up` the second half are its tiles; beyond the matrix: its last tile, thrown away.
            const bool of_up = job.up != nullptr && lane >= kTiles / 2;
            const int tile = min(first + (of_up ? lane - kTiles / 2 : lane), last);
            const unsigned char* from =
                (of_up ? job.up : job.weight) + walk.expert * args.matmul.expert_bytes +
                (static_cast<int64_t>(tile) * k_tiles + walk.k_begin) * Weights::kBytes;
            for (int k_tile = walk.k_begin; k_tile < walk.k_end; ++k_tile) {
                barrier_wait(weights_empty(ring.slot), ring.parity ^ 1);
                if (lane == 0) barrier_arrive_expecting(weights_full(ring.slot), Where::kWeightBytes);
                __syncwarp();
                if (lane < kTiles)
                    copy_bulk(weight_slot(ring.slot) + lane * Weights::kBytes, from, Weights::kBytes,
                              weights_full(ring.slot));
                from += Weights::kBytes;
                ring.advance();
            }
        }
    }

    SIMT_DEVICE void copy_input(const void* map) const {
        previous_kernels_done();
        Walk walk(args);
        InputRing ring;
        constexpr int kChunks = kTileCols / kWgmmaChunk;
        while (walk.next())
            for (int chunk = walk.k_begin * kChunks; chunk < walk.k_end * kChunks; chunk += Where::kBoxes) {
                barrier_wait(input_empty(ring.slot), ring.parity ^ 1);
                barrier_arrive_expecting(input_full(ring.slot), Where::kInputBytes);
#pragma unroll
                for (int box = 0; box < Where::kBoxes; ++box)
                    copy_box(input_slot(ring.slot) + box * Where::kBoxBytes, map, (chunk + box) * kWgmmaChunk,
                             walk.first_token, input_full(ring.slot));
                ring.advance();
            }
    }

    SIMT_DEVICE void release(uint64_t* barrier) const {
        __syncwarp();
        if (threadIdx.x % kWarp == 0) barrier_arrive(barrier);
    }

    // A tile's results, kPieceTokens at a time by way of shared memory, where gate and up meet.
    SIMT_DEVICE void write_out(const Walk& walk, const float (&sums)[Tokens / 2], int thread) const {
        const MatmulJob& job = args.matmul.jobs[walk.place.job];
        const int rows = rows_of_unit(job, kWgmmaRows);
        const int first_row = walk.place.unit * rows;
        auto* const shared_sums = reinterpret_cast<float*>(shared + Where::kSums);
        float* const to = shared_sums + thread % 4 * 2 * Where::kSumStride + thread / kWarp * kTileRows +
                          thread % kWarp / 4;
        const int row = thread % (rows / 4) * 4;
        const int live = min(job.n - first_row - row, 4);
#pragma unroll
        for (int piece = 0; piece < Tokens / Where::kPieceTokens; ++piece) {
            const int first = piece * Where::kPieceTokens;
            const int first_token = walk.first_token + first;
            if (first_token >= walk.end_token) break;
            named_barrier(1, kWgmmaMultipliers);  // the piece before is read
#pragma unroll
            for (int i = 0; i < Where::kPieceTokens / 2; ++i)
                to[(i / 4 * 8 + i % 2) * Where::kSumStride + i % 4 / 2 * 8] =
                    sums[piece * (Where::kPieceTokens / 2) + i];
            named_barrier(1, kWgmmaMultipliers);
            if (live <= 0) continue;
#pragma unroll 2
            for (int token = thread / (rows / 4); token < Where::kPieceTokens;
                 token += kWgmmaMultipliers / (rows / 4)) {
                const int out_row = first_token + token;
                if (out_row >= walk.end_token) break;
                const float* from = shared_sums + token * Where::kSumStride + row;
                finish_four(job, out_row, first_row + row,
                            static_cast<int64_t>(walk.expert) * job.bias_stride, from, from + kWgmmaRows / 2,
                            live);
            }
        }
    }

    // The sums of what the walk is at; returns with its input and weights released.
    SIMT_DEVICE void add_columns(const Walk& walk, InputRing& input, WeightRing& weights,
                                 float (&sums)[Tokens / 2], int thread) const {
        const int lane = thread % kWarp;
        uint32_t a[2][4][4];
        int busy = -1;  // the slot of the chunks before
#pragma unroll 1
        for (int k_tile = walk.k_begin; k_tile < walk.k_end; ++k_tile) {
            barrier_wait(weights_full(weights.slot), weights.parity);
            const unsigned char* tile = weight_slot(weights.slot) + thread / kWarp * Weights::kBytes;
#pragma unroll
            for (int chunk = 0; chunk < kTileCols / kWgmmaChunk; ++chunk) {
                uint32_t (&fragments)[4][4] = a[chunk % 2];
#pragma unroll
                for (int step = 0; step < 2; ++step) {
                    uint32_t pair[2][4];
                    Weights::step32(tile, lane, chunk * 2 + step, pair);
#pragma unroll
                    for (int i = 0; i < 8; ++i) fragments[step * 2 + i / 4][i % 4] = pair[i / 4][i % 4];
                }
                if (chunk == kTileCols / kWgmmaChunk - 1) release(weights_empty(weights.slot));
                const int box = chunk % Where::kBoxes;
                if (box == 0) barrier_wait(input_full(input.slot), input.parity);
                const uint64_t b = swizzled_descriptor(input_slot(input.slot) + box * Where::kBoxBytes);
                keep(fragments);
                wgmma_fence();
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    wgmma_bf16<Tokens>(sums, fragments[i], b + 2 * i,
                                       k_tile - walk.k_begin + chunk + i == 0 ? 0 : 1);
                wgmma_commit();
                wgmma_wait<1>();
                keep(a[(chunk + 1) % 2]);
                if (box == 0 && busy >= 0) release(input_empty(busy));
                if (box == Where::kBoxes - 1) {
                    busy = input.slot;
                    input.advance();
                }
            }
            weights.advance();
        }
        wgmma_wait<0>();
        keep(sums);
        release(input_empty(busy));
    }

    SIMT_DEVICE void multiply() const {
        const int thread = static_cast<int>(threadIdx.x) - kWgmmaCopiers;
        Walk walk(args);
        InputRing input;
        WeightRing weights;
        float sums[Tokens / 2];
        previous_kernels_done();
        while (walk.next()) {
            add_columns(walk, input, weights, sums, thread);
            if constexpr (kJoins) {
                if (walk.is_part()) {
                    const TileJoin<Tokens> join(walk.tile, args.matmul.workspace, thread);
                    if (walk.k_begin > 0) {
                        join.leave(sums, thread);
                        continue;
                    }
                    join.take(sums, thread, walk.blocks_after());
                }
            }
            write_out(walk, sums, thread);
        }
    }
};

#endif

template <Packing P, int Tokens>
SIMT_GLOBAL void SIMT_BOUNDS(kWgmmaThreads, (WgmmaTile<P, Tokens>::kBlocks))
    matmul_wgmma_kernel(const __grid_constant__ CUtensorMap map,
                        const __grid_constant__ MatmulWgmmaArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using Tile = WgmmaTile<P, Tokens>;
    next_kernel_may_start();
    const MatmulWgmma<P, Tokens> product(args);
    product.make_barriers();
    if (threadIdx.x < kWgmmaCopiers) {
        fewer_registers<Tile::kCopierRegisters>();
        if (threadIdx.x < kWarp) product.copy_weights();
        if (threadIdx.x == kWarp) product.copy_input(&map);
    } else {
        more_registers<Tile::kMultiplierRegisters>();
        product.multiply();
    }
#endif
}

}  // namespace llmcore::cuda

#endif
