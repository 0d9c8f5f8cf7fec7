// The kernel of matmul_wgmma.h. Blocks stay, and take one tile of kWgmmaRows weight rows (with `up`: half as
// many of each matrix) by Tokens input rows after another. One thread copies super-tiles and one the input to
// shared memory, as far ahead as there is room, also into the next tile; two warpgroups bring the weights to
// bf16 in registers, which is where wgmma takes its left operand from, one chunk of 64 columns ahead of the
// products.
#pragma once

#include "cuda/kernels/matmul_bf16.h"
#include "cuda/kernels/wgmma.h"

#if defined(__CUDACC__)

namespace llmcore::cuda {

constexpr int kWgmmaRows = 128;
constexpr int kWgmmaChunk = 64;     // columns; 128 bytes of input, as far as a swizzle goes
constexpr int kWgmmaThreads = 384;  // a warpgroup that copies, two that multiply
constexpr int kWgmmaMultipliers = 256;
constexpr int kWgmmaTokenGroup = 8;  // token blocks of 256 that pass over the weights together
constexpr int kPieceTokens = 32;     // of a tile's results that are in shared memory at a time
constexpr int kSumStride = kWgmmaRows + 4;

struct MatmulWgmmaArgs {
    MatmulArgs matmul;
    int32_t units;         // row blocks of all jobs
    int32_t token_blocks;  // without experts
};

// Offsets in shared memory.
template <Packing P, int Tokens>
struct WgmmaShared {
    static constexpr int kMost = 227 * 1024;
    static constexpr int kWeightSlots = 2;
    static constexpr int kInputBytes = Tokens * kWgmmaChunk * 2;
    static constexpr int kWeightBytes = kWgmmaRows / kTileRows * DequantBf16<P>::kBytes;
    static constexpr int kSumBytes = kPieceTokens * kSumStride * 4;
    static constexpr int kBarrierBytes = 128;
    static constexpr int kRoom =
        (kMost - kWeightSlots * kWeightBytes - kSumBytes - kBarrierBytes) / kInputBytes;
    static constexpr int kInputSlots = kRoom < 6 ? kRoom : 6;
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

// Gives a block its tiles in order; all threads walk alike.
template <int Tokens>
struct WgmmaWalk {
    const MatmulWgmmaArgs& args;
    int64_t index = blockIdx.x;
    int64_t passed = 0;  // tiles of experts before `expert`
    int expert = 0;
    int64_t first_token = 0;
    int64_t end_token = 0;
    MatmulPlace place = {0, 0, 0};

    SIMT_DEVICE explicit WgmmaWalk(const MatmulWgmmaArgs& a) : args(a) {}

    SIMT_DEVICE bool next() {
        const MatmulArgs& m = args.matmul;
        int64_t begin = 0;
        int64_t end = m.m;
        int token_blocks = args.token_blocks;
        if (m.expert_begin == nullptr) {
            if (index >= static_cast<int64_t>(args.units) * token_blocks) return false;
        } else {
            for (;; ++expert) {
                if (expert >= m.n_experts) return false;
                begin = m.expert_begin[expert];
                end = m.expert_begin[expert + 1];
                token_blocks = static_cast<int>((end - begin + Tokens - 1) / Tokens);
                const int64_t tiles = static_cast<int64_t>(token_blocks) * args.units;
                if (index < passed + tiles) break;
                passed += tiles;
            }
        }
        place = matmul_place(m, args.units, token_blocks, static_cast<int>(index - passed), kWgmmaRows,
                             kWgmmaTokenGroup);
        first_token = begin + static_cast<int64_t>(place.token_block) * Tokens;
        end_token = end;
        index += gridDim.x;
        return true;
    }
};

// finish() for four weight rows side by side, `live` of them there; the two usual cases without its branches.
SIMT_DEVICE void finish_four(const MatmulJob& job, int64_t row, int column, int64_t bias_offset, float4 sum,
                             float4 up, int live) {
    float* const out = job.out + row * job.out_stride + column;
    const bool has_up = job.up != nullptr;
    const bool common = job.bias == nullptr && job.up_bias == nullptr && job.up_sums == nullptr &&
                        job.gate == nullptr && job.softcap == 0.0F && live == 4 && job.out_stride % 4 == 0 &&
                        reinterpret_cast<uintptr_t>(job.out) % 16 == 0;
    if (common && job.activation == Activation::none && !has_up) {
        if (job.residual != nullptr) {
            const float4 r = *reinterpret_cast<const float4*>(job.residual + row * job.out_stride + column);
            sum = {sum.x + r.x, sum.y + r.y, sum.z + r.z, sum.w + r.w};
        }
        *reinterpret_cast<float4*>(out) = sum;
    } else if (common && job.activation == Activation::silu && has_up && job.residual == nullptr) {
        const auto gated = [](float g, float u) { return __fdividef(g, 1.0F + __expf(-g)) * u; };
        *reinterpret_cast<float4*>(out) = {gated(sum.x, up.x), gated(sum.y, up.y), gated(sum.z, up.z),
                                           gated(sum.w, up.w)};
    } else {
        const float sums[4] = {sum.x, sum.y, sum.z, sum.w};
        const float ups[4] = {up.x, up.y, up.z, up.w};
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (i < live) out[i] = finish(job, row, column + i, bias_offset, sums[i], has_up ? ups[i] : 0.0F);
    }
}

template <Packing P, int Tokens>
struct MatmulWgmma {
    using Where = WgmmaShared<P, Tokens>;
    using Weights = DequantBf16<P>;
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

    SIMT_DEVICE void copy_weights() const {
        // Weights are no other kernel's work, experts' segments are.
        if (args.matmul.expert_begin != nullptr) previous_kernels_done();
        WgmmaWalk<Tokens> walk(args);
        WeightRing ring;
        while (walk.next()) {
            const MatmulJob& job = args.matmul.jobs[walk.place.job];
            const int last = (job.n - 1) / kTileRows;
            const int first = walk.place.unit * (rows_of_unit(job, kWgmmaRows) / kTileRows);
            const int64_t row_bytes = static_cast<int64_t>(k_tiles) * Weights::kBytes;
            const int64_t expert_offset = walk.expert * args.matmul.expert_bytes;
            for (int k_tile = 0; k_tile < k_tiles; ++k_tile) {
                barrier_wait(weights_empty(ring.slot), ring.parity ^ 1);
                barrier_arrive_expecting(weights_full(ring.slot), Where::kWeightBytes);
#pragma unroll 1
                for (int i = 0; i < 8; ++i) {
                    // With `up` the second warpgroup's tiles are its; beyond the matrix: its last tile,
                    // thrown away.
                    const bool of_up = job.up != nullptr && i >= 4;
                    const int tile = min(first + (of_up ? i - 4 : i), last);
                    copy_bulk(weight_slot(ring.slot) + i * Weights::kBytes,
                              (of_up ? job.up : job.weight) + expert_offset + tile * row_bytes +
                                  static_cast<int64_t>(k_tile) * Weights::kBytes,
                              Weights::kBytes, weights_full(ring.slot));
                }
                ring.advance();
            }
        }
    }

    SIMT_DEVICE void copy_input(const void* map) const {
        previous_kernels_done();
        WgmmaWalk<Tokens> walk(args);
        InputRing ring;
        while (walk.next())
            for (int chunk = 0; chunk < k_tiles * (kTileCols / kWgmmaChunk); ++chunk) {
                barrier_wait(input_empty(ring.slot), ring.parity ^ 1);
                barrier_arrive_expecting(input_full(ring.slot), Where::kInputBytes);
                copy_box(input_slot(ring.slot), map, chunk * kWgmmaChunk, static_cast<int>(walk.first_token),
                         input_full(ring.slot));
                ring.advance();
            }
    }

    SIMT_DEVICE void release(uint64_t* barrier) const {
        __syncwarp();
        if (threadIdx.x % kWarp == 0) barrier_arrive(barrier);
    }

    // A tile's results, kPieceTokens at a time by way of shared memory, where gate and up meet.
    SIMT_DEVICE void write_out(const WgmmaWalk<Tokens>& walk, const float (&sums)[Tokens / 2],
                               int thread) const {
        const MatmulJob& job = args.matmul.jobs[walk.place.job];
        const bool has_up = job.up != nullptr;
        const int rows = rows_of_unit(job, kWgmmaRows);
        const int first_row = walk.place.unit * rows;
        auto* const shared_sums = reinterpret_cast<float*>(shared + Where::kSums);
        float* const to =
            shared_sums + thread % 4 * 2 * kSumStride + thread / kWarp * kTileRows + thread % kWarp / 4;
        const int row = thread % (rows / 4) * 4;
        const int live = min(job.n - first_row - row, 4);
#pragma unroll
        for (int piece = 0; piece < Tokens / kPieceTokens; ++piece) {
            const int64_t first_token = walk.first_token + piece * kPieceTokens;
            if (first_token >= walk.end_token) break;
            named_barrier(1, kWgmmaMultipliers);  // the piece before is read
#pragma unroll
            for (int i = 0; i < kPieceTokens / 2; ++i)
                to[(i / 4 * 8 + i % 2) * kSumStride + i % 4 / 2 * 8] = sums[piece * (kPieceTokens / 2) + i];
            named_barrier(1, kWgmmaMultipliers);
            if (live <= 0) continue;
#pragma unroll 2
            for (int token = thread / (rows / 4); token < kPieceTokens;
                 token += kWgmmaMultipliers / (rows / 4)) {
                const int64_t out_row = first_token + token;
                if (out_row >= walk.end_token) break;
                const float* from = shared_sums + token * kSumStride + row;
                finish_four(job, out_row, first_row + row,
                            static_cast<int64_t>(walk.expert) * job.bias_stride,
                            *reinterpret_cast<const float4*>(from),
                            *reinterpret_cast<const float4*>(from + (has_up ? kWgmmaRows / 2 : 0)), live);
            }
        }
    }

    SIMT_DEVICE void multiply() const {
        const int thread = static_cast<int>(threadIdx.x) - (kWgmmaThreads - kWgmmaMultipliers);
        const int lane = thread % kWarp;
        WgmmaWalk<Tokens> walk(args);
        InputRing input;
        WeightRing weights;
        float sums[Tokens / 2];
        uint32_t a[2][4][4];
        previous_kernels_done();
        while (walk.next()) {
            uint64_t* busy = nullptr;  // the input of the chunk before
#pragma unroll 1
            for (int k_tile = 0; k_tile < k_tiles; ++k_tile) {
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
                    barrier_wait(input_full(input.slot), input.parity);
                    const uint64_t b = swizzled_descriptor(input_slot(input.slot));
                    keep(fragments);
                    wgmma_fence();
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        wgmma_bf16<Tokens>(sums, fragments[i], b + 2 * i, k_tile + chunk + i == 0 ? 0 : 1);
                    wgmma_commit();
                    wgmma_wait<1>();
                    keep(a[(chunk + 1) % 2]);
                    if (k_tile + chunk != 0) release(busy);
                    busy = input_empty(input.slot);
                    input.advance();
                }
                weights.advance();
            }
            wgmma_wait<0>();
            keep(sums);
            release(busy);
            write_out(walk, sums, thread);
        }
    }
};

#endif

template <Packing P, int Tokens>
SIMT_GLOBAL void SIMT_BOUNDS(kWgmmaThreads, 1)
    matmul_wgmma_kernel(const __grid_constant__ CUtensorMap map,
                        const __grid_constant__ MatmulWgmmaArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    next_kernel_may_start();
    const MatmulWgmma<P, Tokens> product(args);
    product.make_barriers();
    if (threadIdx.x < kWgmmaThreads - kWgmmaMultipliers) {
        fewer_registers<56>();
        if (threadIdx.x == 0) product.copy_weights();
        if (threadIdx.x == kWarp) product.copy_input(&map);
    } else {
        more_registers<224>();
        product.multiply();
    }
#endif
}

}  // namespace llmcore::cuda

#endif
